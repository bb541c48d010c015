// SPDX-License-Identifier: Apache-2.0
#include "policy/layer.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include <fmt/ranges.h>

#include "base/printable.h"
#include "base/strings.h"
#include "policy/host_table.h"
#include "policy/presets.h"
#include "policy/sections.h"
#include "yaml/mapping_reader.h"

namespace pinhole::policy {
namespace {

using yaml::Document;
using yaml::MappingReader;
using yaml::Mark;
using yaml::Node;

constexpr std::size_t kMostPatterns = 200'000;  // methods × paths × ports of all rules of a file

constexpr std::array<std::string_view, 10> kTopLevelKeys = {
    "version", "egress",  "internal", "ca",       "limits",
    "audit",   "secrets", "ceiling",  "resolver", "upstream_proxy"};

/// They name sources of secrets, or lead to addresses and trust beside the public ones.
constexpr std::array<std::string_view, 5> kUsersKeys = {"internal", "ca", "secrets", "resolver",
                                                        "upstream_proxy"};

std::string_view to_string(LayerKind kind) {
  switch (kind) {
    case LayerKind::organisation:
      return "the organisation's";
    case LayerKind::user:
      return "the user's";
    case LayerKind::project:
      return "a project's";
    case LayerKind::session:
      return "the session's";
  }
  return "";
}

bool is_users_word(LayerKind kind) { return kind == LayerKind::user || kind == LayerKind::session; }

class LayerReader {
 public:
  explicit LayerReader(const Layer& layer) : layer_(layer), document_(layer.document) {}

  Result<LayerContent> read() {
    MappingReader r(document_, document_.root, "the file", true);
    for (const std::string& key : layer_.foreign_keys) r.leave({std::string_view(key)});
    refuse_top_level(r);
    if (const auto version = r.optional_u64("version"); version && *version != 1) {
      r.report(document_.root.find("version")->mark,
               fmt::format("version {} is not known; this program knows version 1", *version));
    }
    const Node* egress = r.optional_mapping("egress");
    const auto ceiling = r.list("ceiling");
    r.leave({"internal", "ca", "limits", "audit", "secrets", "resolver", "upstream_proxy"});
    PINHOLE_TRY_VOID(r.finish());
    if (egress != nullptr) PINHOLE_TRY_VOID(read_egress(*egress));
    if (const Node* node = document_.root.find("ceiling"); node != nullptr) {
      PINHOLE_TRY_VOID(read_ceiling(*node, ceiling));
    }
    PINHOLE_TRY_VOID(read_sections());
    PINHOLE_TRY_VOID(check_rule_limits());
    return std::move(content_);
  }

 private:
  std::unexpected<Error> error(Mark mark, std::string_view message, std::string_view hint = {}) {
    return fail(yaml::error_at(document_, mark, message, hint));
  }

  /// Whatever this version could only ignore must not look as if it were in force.
  void refuse_top_level(MappingReader& r) {
    if (is_users_word(layer_.kind)) return;
    for (const std::string_view key : kUsersKeys) {
      r.refuse(key, fmt::format("may be said by the user's own file or a flag only, not by {} file",
                                to_string(layer_.kind)));
    }
  }

  Result<void> read_egress(const Node& node) {
    MappingReader r(document_, node, "\"egress\"");
    const auto use = r.list("use");
    r.refuse("ask", "comes with a later version; in this one nobody would be asked");
    const auto allow = r.list("allow");
    const auto deny = r.list("deny");
    PINHOLE_TRY_VOID(r.finish());
    PINHOLE_TRY_VOID(read_use(use));
    PINHOLE_TRY_VOID(read_rules(deny, RuleList::deny, content_.deny));
    PINHOLE_TRY_VOID(read_rules(allow, RuleList::allow, content_.allow));
    return check_reachable();
  }

  Result<void> read_use(std::span<const Node> items) {
    for (const Node& item : items) {
      PINHOLE_TRY(const std::string name, yaml::read_string(document_, item, "an item of \"use\""));
      if (find_preset(name) == nullptr) {
        std::vector<std::string_view> names;
        for (const Preset& preset : presets()) names.push_back(preset.name);
        return error(item.mark,
                     fmt::format("unknown preset \"{}\"; there are {}", printable(name, 40),
                                 fmt::join(names, ", ")),
                     closest(name, names).value_or(""));
      }
      if (std::ranges::find(content_.presets, name) != content_.presets.end()) {
        return error(item.mark, fmt::format("preset \"{}\" is given twice", name));
      }
      content_.presets.push_back(name);
    }
    return {};
  }

  Result<void> read_rules(std::span<const Node> items, RuleList list, std::vector<Rule>& rules) {
    std::unordered_map<std::string, std::size_t> lines;
    for (const Node& item : items) {
      PINHOLE_TRY(Rule rule, read_rule(document_, item, list));
      patterns_ += std::max<std::size_t>(1, rule.methods.size()) *
                   std::max<std::size_t>(1, rule.patterns.size()) * rule.reaches.size();
      if (patterns_ > kMostPatterns) {
        return error(rule.mark, fmt::format("more than {} combinations of method, path and port",
                                            kMostPatterns));
      }
      const auto [first, is_new] = lines.emplace(rule.key(), rule.mark.line);
      if (!is_new) {
        return error(rule.mark, fmt::format("this rule can never be reached: it repeats line {}",
                                            first->second));
      }
      rules.push_back(std::move(rule));
    }
    return {};
  }

  Result<void> check_reachable() {
    HostTable denies;
    for (RuleIndex i = 0; i < content_.deny.size(); ++i) denies.insert(content_.deny[i], i);
    for (const Rule& rule : content_.allow) {
      const auto covering = covering_deny(denies, rule);
      if (!covering) continue;
      return error(rule.mark,
                   fmt::format("this rule can never be reached: the deny rule in line {} {}",
                               content_.deny[*covering].mark.line,
                               rule.raw || rule.tunnel ? "could not be kept inside" : "covers it"));
    }
    return {};
  }

  Result<void> read_ceiling(const Node& node, std::span<const Node> items) {
    content_.ceiling.emplace();
    content_.ceiling_id = fmt::format("{}:{}", document_.source, node.key_mark.line);
    PINHOLE_TRY_VOID(read_rules(items, RuleList::ceiling, *content_.ceiling));
    HostTable table;
    for (RuleIndex i = 0; i < content_.ceiling->size(); ++i) {
      table.insert((*content_.ceiling)[i], i);
    }
    for (const Rule& rule : content_.allow) {
      if (may_be_under(table, rule)) continue;
      return error(rule.mark,
                   fmt::format("this rule can never be reached: the ceiling in line {} does not "
                               "hold it",
                               node.key_mark.line));
    }
    return {};
  }

  Result<void> read_sections() {
    MappingReader r(document_, document_.root, "the file", true);
    r.leave(kTopLevelKeys);
    for (const std::string& key : layer_.foreign_keys) r.leave({std::string_view(key)});
    const auto internal = r.list("internal");
    const Node* ca = r.optional_mapping("ca");
    const Node* limits = r.optional_mapping("limits");
    const Node* audit = r.optional_mapping("audit");
    const Node* secrets = r.optional_mapping("secrets");
    const Node* resolver = r.optional_node("resolver");
    const Node* proxy = r.optional_node("upstream_proxy");
    PINHOLE_TRY_VOID(r.finish());
    PINHOLE_TRY(content_.internal, read_internal(document_, internal));
    if (ca != nullptr) {
      PINHOLE_TRY(content_.ca, read_ca(document_, *ca));
    }
    if (limits != nullptr) {
      PINHOLE_TRY(content_.limits, read_limits(document_, *limits));
    }
    if (audit != nullptr) {
      PINHOLE_TRY(content_.audit, read_audit(document_, *audit));
    }
    if (secrets != nullptr) {
      PINHOLE_TRY(content_.secrets, read_secrets(document_, *secrets));
    }
    if (resolver != nullptr) {
      PINHOLE_TRY(content_.resolver, read_resolver(document_, *resolver));
    }
    if (proxy != nullptr) {
      PINHOLE_TRY(content_.upstream_proxy, read_upstream_proxy(document_, *proxy));
    }
    return {};
  }

  /// A rule that grants more than its own file allows at all is a promise that nobody keeps.
  Result<void> check_rule_limits() {
    for (const Rule& rule : content_.allow) {
      const GivenLimits& all = content_.limits;
      if (rule.request_body && all.request_body && *rule.request_body > *all.request_body) {
        return error(rule.mark, "this rule's request_body is more than that of \"limits\" for all");
      }
      if (rule.response_body && all.response_body && *rule.response_body > *all.response_body) {
        return error(rule.mark,
                     "this rule's response_body is more than that of \"limits\" for all");
      }
    }
    return {};
  }

  const Layer& layer_;
  const Document& document_;
  LayerContent content_;
  std::size_t patterns_ = 0;
};

/// Lengths in front of every text, so that no two contents have one spelling.
void append_canonical(std::string& out, const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      out += "n";
      return;
    case Node::Kind::scalar:
      out += fmt::format("s{}:{}", node.text.size(), node.text);
      return;
    case Node::Kind::sequence:
      out += fmt::format("l{}:", node.items.size());
      for (const Node& item : node.items) append_canonical(out, item);
      return;
    case Node::Kind::mapping: {
      std::vector<const Node*> values;
      for (const Node& value : node.items) values.push_back(&value);
      std::ranges::sort(values, {}, &Node::key);
      out += fmt::format("m{}:", values.size());
      for (const Node* value : values) {
        out += fmt::format("{}:{}", value->key.size(), value->key);
        append_canonical(out, *value);
      }
      return;
    }
  }
}

}  // namespace

std::span<const std::string_view> top_level_keys() { return kTopLevelKeys; }

Result<LayerContent> read_layer(const Layer& layer) { return LayerReader(layer).read(); }

std::string canonical_text(const Layer& layer) {
  std::string text = fmt::format("{};", to_string(layer.kind));
  for (const std::string_view key : kTopLevelKeys) {
    const Node* value = layer.document.root.find(key);
    if (value == nullptr) continue;
    text += key;
    append_canonical(text, *value);
  }
  return text;
}

}  // namespace pinhole::policy
