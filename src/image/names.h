// SPDX-License-Identifier: Apache-2.0
// What an image may be called: its name is a folder's name and part of command lines.
#pragma once

#include <string_view>

#include "base/error.h"

namespace pinhole::image {

inline constexpr std::size_t kMaxName = 64;

/// `[a-z0-9][a-z0-9._-]{0,63}`; code `name_invalid`.
Result<void> check_name(std::string_view name);

}  // namespace pinhole::image
