// SPDX-License-Identifier: Apache-2.0
#include "policy/decision.h"

#include <algorithm>
#include <utility>

#include "http/header.h"
#include "policy/reason.h"

namespace pinhole::policy {
namespace {

constexpr std::size_t kLongestMethod = 32;

/// The first rule of a table that matches one reading of the request.
std::optional<RuleIndex> find_in(const HostList& hosts, const Request& request,
                                 std::span<const std::string> path, std::size_t& steps) {
  for (const HostRules* host : hosts) {
    for (const ReachRules* rules : host->at(request.scheme, request.port, steps)) {
      if (auto index = find_rule(*rules, request.method, path, steps)) return index;
    }
  }
  return std::nullopt;
}

/// The first rule of a kind (ReachRules' whole, partial, tunnel).
std::optional<RuleIndex> find_kind(const HostList& hosts, http::Scheme scheme, std::uint16_t port,
                                   std::optional<RuleIndex> ReachRules::* kind,
                                   std::size_t& steps) {
  for (const HostRules* host : hosts) {
    for (const ReachRules* rules : host->at(scheme, port, steps)) {
      if (rules->*kind) return rules->*kind;
    }
  }
  return std::nullopt;
}

/// A rule about requests, of the most precise pattern that has one.
std::optional<RuleIndex> find_any(const HostList& hosts, http::Scheme scheme, std::uint16_t port,
                                  std::size_t& steps) {
  for (const HostRules* host : hosts) {
    for (const ReachRules* rules : host->at(scheme, port, steps)) {
      if (rules->whole) return rules->whole;
      if (rules->partial) return rules->partial;
    }
  }
  return std::nullopt;
}

Verdict denied(std::string rule, std::string reason) {
  return {.action = Action::deny, .rule = std::move(rule), .reason = std::move(reason)};
}

Verdict above(const std::string& ceiling, const Request& request) {
  return denied(ceiling,
                fmt::format("{} is not under the ceiling at {}, whatever other rules allow",
                            request.text(), ceiling));
}

std::string matches_text(const Request& request, const Rule& rule) {
  std::string text = request.text();
  text.append(" matches allow rule at ").append(rule.id);
  return text;
}

void narrow(RuleLimits& limits, const Rule& rule) {
  limits.request_body =
      std::min(rule.request_body.value_or(limits.request_body), limits.request_body);
  limits.response_body =
      std::min(rule.response_body.value_or(limits.response_body), limits.response_body);
  if (rule.rate) limits.rate = limits.rate ? slower(*limits.rate, *rule.rate) : *rule.rate;
  if (rule.concurrent) {
    limits.concurrent = std::min(limits.concurrent.value_or(*rule.concurrent), *rule.concurrent);
  }
}

void narrow(std::optional<std::vector<std::string>>& secrets, const Rule& rule) {
  if (!rule.secrets) return;
  if (!secrets) {
    secrets = rule.secrets;
    return;
  }
  std::erase_if(*secrets, [&](const std::string& name) {
    return std::ranges::find(*rule.secrets, name) == rule.secrets->end();
  });
}

}  // namespace

Decision::Decision(const Tables& tables, const Request& request, std::size_t& steps)
    : tables_(tables),
      request_(request),
      steps_(steps),
      denies_(tables.deny.matching(request.host, true, steps)),
      allows_(tables.allow.matching(request.host, false, steps)) {
  for (const Ceiling& ceiling : tables.ceilings) {
    ceilings_.push_back(ceiling.table.matching(request.host, false, steps));
  }
}

Verdict Decision::decide() {
  if (request_.way == Way::connect) return decide_connect();
  Verdict verdict = decide_request(request_);
  // Some frameworks act on a header instead of on the method: what it names is asked for as well.
  for (const std::string& method : request_.other_methods) {
    if (!verdict.allowed()) break;
    // No request line may hold such a method; cut off, it could match a rule that is not about it.
    if (method.size() > kLongestMethod) {
      return denied("default", fmt::format("a header replaces the method by one of over {} bytes",
                                           kLongestMethod));
    }
    Request other = request_;
    other.method = http::is_token(method) ? method : "?";
    const Verdict second = decide_request(other);
    if (second.allowed()) continue;
    verdict = second;
    verdict.reason += " (a header replaces the method)";
  }
  return verdict;
}

Verdict Decision::decide_request(const Request& request) {
  const auto readings = http::path_readings(request.path);
  for (const http::Segments& path : readings) {
    if (const Match deny = find_in(denies_, request, path, steps_))
      return denied_by(*deny, request);
  }
  std::vector<RuleIndex> found;
  for (const http::Segments& path : readings) {
    if (const Match allow = find_in(allows_, request, path, steps_)) found.push_back(*allow);
  }
  if (found.empty()) return denied("default", why_not(request, allows_, tables_.allow_rules));
  if (found.size() < readings.size()) {
    return denied("default",
                  fmt::format("servers read the path of {} in more than one way, and {} allows "
                              "only one of them",
                              request.text(), tables_.allow_rules[found.front()].id));
  }
  if (auto refused = above_ceiling(request, readings)) return *std::move(refused);
  return allowed_by(found, request);
}

Verdict Decision::decide_connect() {
  if (const Match raw = find_raw()) return decide_raw(*raw);
  const Match tunnel =
      find_kind(allows_, http::Scheme::https, request_.port, &ReachRules::tunnel, steps_);
  if (tunnel) return decide_tunnel(*tunnel);
  return decide_inspect();
}

/// Bytes may be anything, so that a deny of any kind for this port refuses them.
Verdict Decision::decide_raw(RuleIndex rule) {
  for (const auto kind : {&ReachRules::whole, &ReachRules::partial}) {
    for (const http::Scheme scheme : {http::Scheme::https, http::Scheme::http}) {
      const Match deny = find_kind(denies_, scheme, request_.port, kind, steps_);
      if (!deny) continue;
      return kind == &ReachRules::whole ? denied_by(*deny, request_) : denied_unseen(*deny);
    }
  }
  if (auto refused = above_ceiling(Handling::raw, http::Scheme::https)) return *std::move(refused);
  Verdict verdict = allowed_by({rule}, request_);
  verdict.handling = Handling::raw;
  return verdict;
}

Verdict Decision::decide_tunnel(RuleIndex rule) {
  const auto deny = [&](Match ReachRules::* kind) {
    return find_kind(denies_, http::Scheme::https, request_.port, kind, steps_);
  };
  if (const Match whole = deny(&ReachRules::whole)) return denied_by(*whole, request_);
  if (const Match partial = deny(&ReachRules::partial)) return denied_unseen(*partial);
  if (auto refused = above_ceiling(Handling::tunnel, http::Scheme::https)) {
    return *std::move(refused);
  }
  Verdict verdict = allowed_by({rule}, request_);
  verdict.handling = Handling::tunnel;
  return verdict;
}

/// What is inside is decided again, request by request: here it is enough that one of them could
/// be allowed.
Verdict Decision::decide_inspect() {
  Match denied_whole;
  std::optional<Verdict> above;
  for (const http::Scheme scheme : {http::Scheme::https, http::Scheme::http}) {
    const auto deny = find_kind(denies_, scheme, request_.port, &ReachRules::whole, steps_);
    if (deny) {
      if (!denied_whole) denied_whole = deny;
      continue;
    }
    const Match allow = find_any(allows_, scheme, request_.port, steps_);
    if (!allow) continue;
    if (auto refused = above_ceiling(Handling::inspect, scheme)) {
      if (!above) above = std::move(refused);
      continue;
    }
    Verdict verdict = allowed_inside(*allow);
    verdict.whole_host = scheme == http::Scheme::https &&
                         find_kind(allows_, scheme, request_.port, &ReachRules::whole, steps_) &&
                         !find_kind(denies_, scheme, request_.port, &ReachRules::partial, steps_) &&
                         !above_ceiling(Handling::tunnel, scheme);
    return verdict;
  }
  if (above) return *std::move(above);
  if (denied_whole) return denied_by(*denied_whole, request_);
  return denied("default", why_not(request_, allows_, tables_.allow_rules));
}

Decision::Match Decision::find_raw() const {
  for (const HostRules* host : allows_) {
    if (const Match raw = host->raw_at(request_.port, steps_)) return raw;
  }
  return std::nullopt;
}

/// Each ceiling must hold every reading of the path.
std::optional<Verdict> Decision::above_ceiling(const Request& request,
                                               std::span<const http::Segments> readings) const {
  for (std::size_t i = 0; i < ceilings_.size(); ++i) {
    const bool under = std::ranges::all_of(readings, [&](const http::Segments& path) {
      return find_in(ceilings_[i], request, path, steps_).has_value();
    });
    if (!under) return above(tables_.ceilings[i].id, request);
  }
  return std::nullopt;
}

/// What passes unseen needs a ceiling that holds all of it; for the rest it is enough that one
/// request could be under it.
std::optional<Verdict> Decision::above_ceiling(Handling handling, http::Scheme scheme) const {
  const auto has = [&](const HostList& ceiling, Match ReachRules::* kind) {
    return find_kind(ceiling, scheme, request_.port, kind, steps_).has_value();
  };
  for (std::size_t i = 0; i < ceilings_.size(); ++i) {
    const HostList& ceiling = ceilings_[i];
    bool under = false;
    switch (handling) {
      case Handling::raw:
        under = std::ranges::any_of(ceiling, [&](const HostRules* host) {
          return host->raw_at(request_.port, steps_).has_value();
        });
        break;
      case Handling::tunnel:
        under = has(ceiling, &ReachRules::tunnel) || has(ceiling, &ReachRules::whole);
        break;
      case Handling::inspect:
        under = find_any(ceiling, scheme, request_.port, steps_).has_value();
        break;
    }
    if (!under) return above(tables_.ceilings[i].id, request_);
  }
  return std::nullopt;
}

Verdict Decision::denied_by(RuleIndex index, const Request& request) const {
  const std::string& id = tables_.deny_rules[index].id;
  return denied(id, fmt::format("{} matches deny rule at {}", request.text(), id));
}

Verdict Decision::denied_unseen(RuleIndex index) const {
  const Rule& rule = tables_.deny_rules[index];
  return denied(rule.id, why_not_unseen(request_, rule));
}

/// Patterns that do not reach as far as what they match.
std::optional<Verdict> Decision::refused_pattern(RuleIndex index, const Request& request) const {
  const Rule& rule = tables_.allow_rules[index];
  if (rule.host.kind == HostPattern::Kind::any &&
      tables_.internal.contains(internal_key(request.host, request.port))) {
    return denied(
        "default",
        fmt::format("\"*\" ({}) is for public hosts, and {}:{} is internal: allow it by name",
                    rule.id, request.host.in_url(), request.port));
  }
  if (rule.host.kind != HostPattern::Kind::exact && tables_.upstream_proxy) {
    return denied("default", fmt::format("\"{}\" ({}) allows nothing with an upstream_proxy, which "
                                         "resolves the names itself: allow {} by its exact name",
                                         rule.host.text(), rule.id, request.host.in_url()));
  }
  return std::nullopt;
}

/// Several rules where the path has several readings: the smallest limits count.
Verdict Decision::allowed_by(const std::vector<RuleIndex>& found, const Request& request) const {
  Verdict verdict{.action = Action::allow, .limits = {tables_.limits.bodies, {}, {}}};
  for (const RuleIndex index : found) {
    if (auto refused = refused_pattern(index, request)) return *std::move(refused);
    narrow(verdict.limits, tables_.allow_rules[index]);
    narrow(verdict.secrets, tables_.allow_rules[index]);
  }
  const Rule& rule = tables_.allow_rules[found.front()];
  verdict.rule = rule.id;
  verdict.reason = matches_text(request, rule);
  return verdict;
}

/// Its limits and secrets are those of the requests inside.
Verdict Decision::allowed_inside(RuleIndex index) const {
  if (auto refused = refused_pattern(index, request_)) return *std::move(refused);
  const Rule& rule = tables_.allow_rules[index];
  return {.action = Action::allow,
          .rule = rule.id,
          .reason = matches_text(request_, rule),
          .limits = {tables_.limits.bodies, {}, {}}};
}

bool Decision::may_be_reached(const Tables& tables, const http::Host& host, std::uint16_t port) {
  std::size_t steps = 0;
  const Request any = Request::connect(host, port);
  Decision decision(tables, any, steps);
  if (tables.upstream_proxy) {
    HostList& allows = decision.allows_;
    const auto is_pattern = [](const HostRules* rules) {
      return rules->kind != HostPattern::Kind::exact;
    };
    allows.erase(std::remove_if(allows.begin(), allows.end(), is_pattern), allows.end());
  }
  const bool raw = decision.find_raw().has_value();
  for (const http::Scheme scheme : {http::Scheme::https, http::Scheme::http}) {
    const bool allowed = raw || std::ranges::any_of(decision.allows_, [&](const HostRules* rules) {
                           return !rules->at(scheme, port, steps).empty();
                         });
    if (!allowed || find_kind(decision.denies_, scheme, port, &ReachRules::whole, steps)) continue;
    if (raw || !decision.above_ceiling(Handling::inspect, scheme)) return true;
    if (!decision.above_ceiling(Handling::tunnel, scheme)) return true;
  }
  return false;
}

bool fits(const Rule& rule, const Request& request, RuleList list) {
  HostTable table;
  table.insert(rule, 0);
  std::size_t steps = 0;
  const HostList hosts = table.matching(request.host, list == RuleList::deny, steps);
  if (hosts.empty()) return false;
  if (request.way == Way::connect) {
    if (rule.raw) return hosts.front()->raw_at(request.port, steps).has_value();
    return !hosts.front()->at(http::Scheme::https, request.port, steps).empty() ||
           !hosts.front()->at(http::Scheme::http, request.port, steps).empty();
  }
  return std::ranges::any_of(http::path_readings(request.path), [&](const http::Segments& path) {
    return find_in(hosts, request, path, steps).has_value();
  });
}

}  // namespace pinhole::policy
