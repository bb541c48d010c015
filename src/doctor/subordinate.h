// SPDX-License-Identifier: Apache-2.0
// Subordinate ids as /etc/subuid and /etc/subgid grant them (subuid(5)), judged whole: too few, or somebody else's too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/row.h"

namespace pinhole::doctor {

inline constexpr std::uint64_t kSubordinateIds = 65'536;  // what an image build and a workspace map

struct Grant {
  std::string owner;
  std::uint64_t first = 0, count = 0;
};
/// The lines that make sense, in order.
std::vector<Grant> parse_grants(std::string_view text);

/// What is wrong with what `user` has; nothing where all is well.
std::optional<Diagnosis> grant_problem(std::string_view subuid, std::string_view subgid,
                                       const sys::User& user);

}  // namespace pinhole::doctor
