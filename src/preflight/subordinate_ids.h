// SPDX-License-Identifier: Apache-2.0
// Advice for a user without subordinate ids.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/user.h"

namespace pinhole::preflight {

/// A range of 65536 ids that no line of /etc/subuid or /etc/subgid overlaps, as usermod takes it:
/// "200000-265535". Two users with the same ids could touch each other's files. Nothing where all
/// is taken.
std::optional<std::string> next_free_ids(std::string_view subuid_text,
                                         std::string_view subgid_text);

/// The user's own, of both kinds; where there are none, an error with the command that gives some.
struct SubordinateIds {
  sys::IdRange uids, gids;
};
Result<SubordinateIds> check_subordinate_ids(const sys::User& user);

}  // namespace pinhole::preflight
