// SPDX-License-Identifier: Apache-2.0
#include "policy/host_table.h"

#include <algorithm>
#include <array>

namespace pinhole::policy {
namespace {

constexpr std::uint32_t kRawCode = 3U << 16;

std::uint32_t reach_code(std::optional<http::Scheme> scheme, std::optional<std::uint16_t> port) {
  const std::uint32_t scheme_code = !scheme ? 0U : *scheme == http::Scheme::http ? 1U : 2U;
  return scheme_code << 16 | port.value_or(0);
}

void insert_paths(PathTrie& trie, const Rule& rule, RuleIndex index) {
  static const PathPattern kEveryPath{.segments = {}, .rest = true};
  if (rule.patterns.empty()) trie.insert(kEveryPath, index);
  for (const PathPattern& pattern : rule.patterns) trie.insert(pattern, index);
}

void insert_into(ReachRules& reach, const Rule& rule, RuleIndex index) {
  if (rule.tunnel) {
    if (!reach.tunnel) reach.tunnel = index;
    return;
  }
  std::optional<RuleIndex>& kind = rule.is_whole_host() ? reach.whole : reach.partial;
  if (!kind) kind = index;
  if (rule.methods.empty() && rule.patterns.empty()) return;  // `whole` says it all
  if (!reach.paths) reach.paths = std::make_unique<PathRules>();
  if (rule.methods.empty()) insert_paths(reach.paths->any_method, rule, index);
  for (const std::string& method : rule.methods) {
    insert_paths(reach.paths->by_method[method], rule, index);
  }
}

/// What a deny rule covers one way in; `reach`, `method` ("" for any) and `pattern` are the allow
/// rule's.
std::optional<RuleIndex> covering_at(const HostRules& host, const Reach& reach,
                                     std::string_view method, const PathPattern& pattern) {
  if (!reach.scheme || !reach.port) return std::nullopt;  // an allow rule has both
  std::size_t steps = 0;
  for (const ReachRules* rules : host.at(*reach.scheme, *reach.port, steps)) {
    if (rules->whole) return rules->whole;
    if (!rules->paths) continue;
    if (auto index = rules->paths->any_method.covering(pattern)) return index;
    const auto by_method = rules->paths->by_method.find(method);
    if (by_method == rules->paths->by_method.end()) continue;
    if (auto index = by_method->second.covering(pattern)) return index;
  }
  return std::nullopt;
}

std::optional<RuleIndex> covering_one(const HostList& hosts, const Reach& reach,
                                      std::string_view method, const PathPattern& pattern) {
  for (const HostRules* host : hosts) {
    if (auto index = covering_at(*host, reach, method, pattern)) return index;
  }
  return std::nullopt;
}

/// What passes unseen is refused by every deny that it could break, also by those with a path.
std::optional<RuleIndex> breakable_deny(const HostList& hosts, const Rule& rule) {
  std::size_t steps = 0;
  for (const HostRules* host : hosts) {
    for (const http::Scheme scheme : {http::Scheme::https, http::Scheme::http}) {
      if (rule.tunnel && scheme == http::Scheme::http) continue;
      for (const ReachRules* rules :
           host->at(scheme, rule.reaches.front().port.value_or(0), steps)) {
        if (rules->whole) return rules->whole;
        if (rules->partial) return rules->partial;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

ReachList HostRules::at(http::Scheme scheme, std::uint16_t port, std::size_t& steps) const {
  const std::array codes = {reach_code(scheme, port), reach_code(std::nullopt, port),
                            reach_code(scheme, std::nullopt),
                            reach_code(std::nullopt, std::nullopt)};
  ReachList found;
  for (const std::uint32_t code : codes) {
    ++steps;
    if (const ReachRules* rules_there = find(code)) found.push_back(rules_there);
  }
  return found;
}

std::optional<RuleIndex> HostRules::raw_at(std::uint16_t port, std::size_t& steps) const {
  ++steps;
  const ReachRules* found = find(kRawCode | port);
  if (found == nullptr) return std::nullopt;
  return found->whole;
}

const ReachRules* HostRules::find(std::uint32_t code) const {
  if (index_) {
    const auto found = index_->find(code);
    return found == index_->end() ? nullptr : &reaches_[found->second];
  }
  const auto found = std::ranges::find(reaches_, code, &ReachRules::code);
  return found == reaches_.end() ? nullptr : &*found;
}

ReachRules& HostRules::make(std::uint32_t code) {
  constexpr std::size_t kMostLookedThrough = 8;
  if (const ReachRules* found = find(code))
    return reaches_[static_cast<std::size_t>(found - reaches_.data())];
  reaches_.emplace_back().code = code;
  if (index_) {
    index_->emplace(code, reaches_.size() - 1);
  } else if (reaches_.size() > kMostLookedThrough) {
    index_ = std::make_unique<std::unordered_map<std::uint32_t, std::size_t>>();
    for (std::size_t i = 0; i < reaches_.size(); ++i) index_->emplace(reaches_[i].code, i);
  }
  return reaches_.back();
}

void HostTable::insert(const Rule& rule, RuleIndex index) {
  HostRules* host = nullptr;
  switch (rule.host.kind) {
    case HostPattern::Kind::exact:
      host = &exact_[rule.host.name];
      break;
    case HostPattern::Kind::below:
      host = &below_[rule.host.name];
      break;
    case HostPattern::Kind::any:
      if (!any_) any_.emplace();
      host = &*any_;
      break;
  }
  host->kind = rule.host.kind;
  host->rules.push_back(index);
  if (rule.raw) {
    for (const Reach& reach : rule.reaches) {
      auto& whole = host->make(kRawCode | reach.port.value_or(0)).whole;
      if (!whole) whole = index;
    }
    return;
  }
  for (const Reach& reach : rule.reaches) {
    insert_into(host->make(reach_code(reach.scheme, reach.port)), rule, index);
  }
}

void HostTable::append_below(std::string_view name, HostList& out, std::size_t& steps) const {
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.')) {
    name.remove_prefix(dot + 1);
    ++steps;
    const auto found = below_.find(name);
    if (found != below_.end()) out.push_back(&found->second);
  }
}

HostList HostTable::matching(const http::Host& host, bool any_means_any, std::size_t& steps) const {
  HostList found;
  ++steps;
  const auto exact = exact_.find(host.name);
  if (exact != exact_.end()) found.push_back(&exact->second);
  if (!host.ip) append_below(host.name, found, steps);
  const bool could_be_public = !host.ip && host.name.contains('.');
  if (any_ && (any_means_any || could_be_public)) found.push_back(&*any_);
  return found;
}

HostList HostTable::covering(const HostPattern& pattern) const {
  HostList found;
  std::size_t steps = 0;
  switch (pattern.kind) {
    case HostPattern::Kind::exact:
      if (const auto exact = exact_.find(pattern.name); exact != exact_.end()) {
        found.push_back(&exact->second);
      }
      // The last label of a name is never a number, so this is no part of an address.
      if (!http::parse_ip(pattern.name)) append_below(pattern.name, found, steps);
      break;
    case HostPattern::Kind::below:
      append_below("." + pattern.name, found, steps);
      break;
    case HostPattern::Kind::any:
      break;
  }
  if (any_) found.push_back(&*any_);
  return found;
}

std::optional<RuleIndex> find_rule(const ReachRules& rules, std::string_view method,
                                   std::span<const std::string> path, std::size_t& steps) {
  ++steps;
  if (!rules.paths) return rules.whole;
  const auto by_method = rules.paths->by_method.find(method);
  if (by_method != rules.paths->by_method.end()) {
    if (auto index = by_method->second.find(path, steps)) return index;
  }
  if (auto index = rules.paths->any_method.find(path, steps)) return index;
  return rules.whole;
}

bool may_be_under(const HostTable& ceiling, const Rule& rule) {
  if (rule.host.kind != HostPattern::Kind::exact) return true;
  std::size_t steps = 0;
  const http::Host host{.name = rule.host.name, .ip = http::parse_ip(rule.host.name)};
  for (const HostRules* rules : ceiling.matching(host, false, steps)) {
    for (const Reach& reach : rule.reaches) {
      const std::uint16_t port = reach.port.value_or(0);
      const bool reached =
          rule.raw ? rules->raw_at(port, steps).has_value()
                   : !rules->at(reach.scheme.value_or(http::Scheme::https), port, steps).empty();
      if (reached) return true;
    }
  }
  return false;
}

std::optional<RuleIndex> covering_deny(const HostTable& denies, const Rule& rule) {
  static const PathPattern kEveryPath{.segments = {}, .rest = true};
  const std::vector<PathPattern> every_path = {kEveryPath};
  const std::vector<std::string> any_method = {""};
  const auto hosts = denies.covering(rule.host);
  if (hosts.empty()) return std::nullopt;
  if (rule.tunnel || rule.raw) return breakable_deny(hosts, rule);
  std::optional<RuleIndex> covering;
  for (const Reach& reach : rule.reaches) {
    for (const std::string& method : rule.methods.empty() ? any_method : rule.methods) {
      for (const PathPattern& pattern : rule.patterns.empty() ? every_path : rule.patterns) {
        covering = covering_one(hosts, reach, method, pattern);
        if (!covering) return std::nullopt;
      }
    }
  }
  return covering;
}

}  // namespace pinhole::policy
