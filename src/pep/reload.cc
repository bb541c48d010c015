// SPDX-License-Identifier: Apache-2.0
#include "pep/reload.h"

#include <algorithm>
#include <utility>

#include <boost/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "pep/credentials.h"
#include "yaml/yaml.h"

namespace pinhole::pep {
namespace {

namespace json = boost::json;

constexpr std::size_t kMostLayers = 100;

Result<policy::LayerKind> kind_of(std::string_view name) {
  using enum policy::LayerKind;
  if (name == "organisation") return organisation;
  if (name == "user") return user;
  if (name == "project") return project;
  if (name == "session") return session;
  return fail("a reload names the unknown layer \"{}\"", name);
}

std::vector<std::string> texts_of(const json::object& message, std::string_view key) {
  std::vector<std::string> texts;
  const json::value* list = message.if_contains(key);
  if (list == nullptr || !list->is_array()) return texts;
  for (const json::value& item : list->get_array()) {
    if (item.is_string()) texts.emplace_back(item.get_string());
  }
  return texts;
}

Result<policy::Policy> compile(const json::object& message, std::vector<policy::Builtin> builtins) {
  const json::value* list = message.if_contains("layers");
  if (list == nullptr || !list->is_array() || list->get_array().size() > kMostLayers) {
    return fail("a reload without a list of layers");
  }
  const auto foreign_keys = texts_of(message, "foreign_keys");
  std::vector<policy::Layer> layers;
  for (const json::value& item : list->get_array()) {
    if (!item.is_object()) return fail("a reload with a layer that is no object");
    const json::object& layer = item.get_object();
    PINHOLE_TRY(const auto kind, kind_of(text_of(layer, "layer")));
    PINHOLE_TRY(yaml::Document document,
                yaml::parse(text_of(layer, "text"), text_of(layer, "name")));
    layers.push_back({.kind = kind, .document = std::move(document), .foreign_keys = foreign_keys});
  }
  return policy::Policy::compile(std::move(layers), std::move(builtins));
}

/// What a confined door has from its start, and what was made from it then.
Result<void> check_fixed(const policy::Policy& now, const policy::Policy& wanted) {
  const auto before = now.ca_files();
  for (const std::string& file : wanted.ca_files()) {
    if (!std::ranges::binary_search(before, file)) {
      return fail("the file {} under \"ca\" is new; it counts from the next start of the VM", file);
    }
  }
  if (now.resolver_servers() != wanted.resolver_servers())
    return fail("a change of \"resolver\" counts from the next start of the VM");
  if (now.upstream_proxy() != wanted.upstream_proxy())
    return fail("a change of \"upstream_proxy\" counts from the next start of the VM");
  return {};
}

}  // namespace

Result<void> reload_policy(Door& door, const json::object& message,
                           std::vector<policy::Builtin> builtins) {
  PINHOLE_TRY(policy::Policy wanted, compile(message, std::move(builtins)));
  PINHOLE_TRY_VOID(check_fixed(door.policy, wanted));
  PINHOLE_TRY(secret::Vault vault, make_vault(wanted, door.placeholder_seed, door.vault));
  PINHOLE_TRY_VOID(door.audit.set_policy(wanted.hash()));
  const policy::Policy before = std::exchange(door.policy, std::move(wanted));
  door.follow_audit_settings();
  door.vault = std::move(vault);
  const std::size_t cut = door.under_way.cut_refused(before, door.policy);
  if (cut > 0) log(LogLevel::info, "{} connections ended that the new policy refuses", cut);
  return {};
}

}  // namespace pinhole::pep
