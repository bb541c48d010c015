// SPDX-License-Identifier: Apache-2.0
// cloud-init's user-data, looked at before a machine boots with it: most mistakes in it are
// silently ignored by cloud-init, and found an hour later.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

inline constexpr std::size_t kMaxUserData = std::size_t{512} << 10;

/// What is right but looks unintended; each one line.
using Notes = std::vector<std::string>;

/// Accepts `#cloud-config` with a YAML mapping, and scripts (`#!`). A top-level key that is nearly
/// one of cloud-init's modules is an error, an unknown one a note: cloud-init ignores both.
/// `source` is the file's name in errors.
Result<Notes> check_user_data(std::string_view text, std::string_view source);

}  // namespace pinhole::image
