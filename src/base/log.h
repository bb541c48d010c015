// SPDX-License-Identifier: Apache-2.0
// Lines for the operator on stderr: "2026-11-22T17:36:22.862Z vsockd: text". The only global of the
// project. Text passes printable().
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace pinhole {

enum class LogLevel { error, warning, info, debug };

/// The name in front of each line and the least important level that is written. Called once, in
/// main.
void set_log(std::string_view program, LogLevel level);
void log_line(LogLevel level, std::string_view text);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> text, Args&&... args) {
  log_line(level, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace pinhole
