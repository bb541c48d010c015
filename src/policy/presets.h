// SPDX-License-Identifier: Apache-2.0
// The presets that ship with Pinhole (presets/*.yaml), as texts inside the program.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "policy/rule.h"

namespace pinhole::policy {

struct Preset {
  std::string_view name;
  std::string_view text;
};

/// In the order of their names.
std::span<const Preset> presets();
const Preset* find_preset(std::string_view name);
/// Its allow rules, with ids such as "preset:npm:9". A preset holds nothing else.
Result<std::vector<Rule>> rules_of(const Preset& preset);

}  // namespace pinhole::policy
