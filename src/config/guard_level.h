// SPDX-License-Identifier: Apache-2.0
// How much the workspace is guarded: docs/workspace.md says what each level stops.
#pragma once

#include <optional>
#include <string_view>

namespace pinhole::config {

enum class GuardLevel {
  off,
  warn,    // what the host would execute is read-only, and what is new of that is told at the end
  strict,  // and moved to quarantine
};

constexpr std::string_view to_string(GuardLevel level) {
  switch (level) {
    case GuardLevel::off:
      return "off";
    case GuardLevel::warn:
      return "warn";
    case GuardLevel::strict:
      return "strict";
  }
  return "";
}

constexpr std::optional<GuardLevel> parse_guard_level(std::string_view word) {
  for (const GuardLevel level : {GuardLevel::off, GuardLevel::warn, GuardLevel::strict}) {
    if (word == to_string(level)) return level;
  }
  return std::nullopt;
}

}  // namespace pinhole::config
