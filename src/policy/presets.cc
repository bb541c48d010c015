// SPDX-License-Identifier: Apache-2.0
#include "policy/presets.h"

#include <algorithm>

#include "yaml/mapping_reader.h"

namespace pinhole::policy {

const Preset* find_preset(std::string_view name) {
  const auto found = std::ranges::find(presets(), name, &Preset::name);
  return found == presets().end() ? nullptr : &*found;
}

Result<std::vector<Rule>> rules_of(const Preset& preset) {
  PINHOLE_TRY(const yaml::Document document,
              yaml::parse(preset.text, fmt::format("preset:{}", preset.name)));
  yaml::MappingReader file(document, document.root);
  file.leave({"version"});
  const yaml::Node* egress = file.required_mapping("egress");
  PINHOLE_TRY_VOID(file.finish());
  yaml::MappingReader r(document, *egress, "\"egress\"");
  const auto items = r.list("allow");
  PINHOLE_TRY_VOID(r.finish());
  std::vector<Rule> rules;
  for (const yaml::Node& item : items) {
    PINHOLE_TRY(Rule rule, read_rule(document, item, RuleList::allow));
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace pinhole::policy
