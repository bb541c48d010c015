// SPDX-License-Identifier: Apache-2.0
// Wall-clock text. Waits and deadlines use std::chrono::steady_clock, injected where tests need it.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace pinhole {

/// RFC 3339 in UTC with milliseconds: 2026-11-22T17:36:22.862Z
std::string format_time(std::chrono::system_clock::time_point time);
std::string now_text();
/// What format_time() writes, read back; also without the fraction.
std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text);

}  // namespace pinhole
