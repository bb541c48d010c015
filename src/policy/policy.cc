// SPDX-License-Identifier: Apache-2.0
#include "policy/policy.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/sha256.h"
#include "policy/reason.h"
#include "policy/tables.h"

namespace pinhole::policy {
namespace {

constexpr std::size_t kLongestMethod = 32;
constexpr std::size_t kLongestPath = 300;  // in a reason

constexpr std::string_view kAlwaysRedacted[] = {"authorization", "cookie", "proxy-authorization",
                                                "set-cookie"};

/// What a request matched in the allow table, or nothing.
using Match = std::optional<RuleIndex>;

template <typename T>
void lower_to(T& value, const std::optional<T>& given, bool& said) {
  if (!given) return;
  value = said ? std::min(value, *given) : *given;
  said = true;
}

/// The smallest of what the layers say; the default only where none says anything.
class LimitsMerge {
 public:
  void add(const GivenLimits& given) {
    lower_to(limits_.connections, given.connections, connections_);
    lower_to(limits_.bodies.request_body, given.request_body, request_body_);
    lower_to(limits_.bodies.response_body, given.response_body, response_body_);
    lower_to(limits_.header_bytes, given.header_bytes, header_bytes_);
    lower_to(limits_.idle, given.idle, idle_);
  }
  [[nodiscard]] const Limits& limits() const { return limits_; }

 private:
  Limits limits_;
  bool connections_ = false;
  bool request_body_ = false;
  bool response_body_ = false;
  bool header_bytes_ = false;
  bool idle_ = false;
};

void append_warnings(const Rule& rule, std::vector<std::string>& warnings) {
  if (rule.host.kind == HostPattern::Kind::any) {
    warnings.push_back(fmt::format("{}: \"*\" allows every public host", rule.id));
  } else if (rule.host.kind == HostPattern::Kind::below && !rule.host.name.contains('.')) {
    warnings.push_back(
        fmt::format("{}: \"{}\" allows a whole top-level domain", rule.id, rule.host.text()));
  }
}

BodyLimits limits_of(const Rule& rule, const BodyLimits& all) {
  return {
      .request_body = std::min(rule.request_body.value_or(all.request_body), all.request_body),
      .response_body = std::min(rule.response_body.value_or(all.response_body), all.response_body)};
}

bool below_prefix(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) return false;
  return prefix.ends_with('/') || path.size() == prefix.size() || path[prefix.size()] == '/';
}

bool matches(const Builtin& builtin, const Request& request) {
  return request.way == Way::request && request.method == "GET" &&
         request.scheme == http::Scheme::http && request.host.name == builtin.host &&
         request.port == builtin.port && below_prefix(request.path, builtin.path_prefix) &&
         request.other_methods.empty() && http::path_readings(request.path).size() == 1;
}

/// The first rule of a table that matches one reading of the request.
Match find_in(const std::vector<const HostRules*>& hosts, const Request& request,
              std::span<const std::string> path, std::size_t& steps) {
  for (const HostRules* host : hosts) {
    for (const ReachRules* rules : host->at(request.scheme, request.port, steps)) {
      if (auto index = find_rule(*rules, request.method, path, steps)) return index;
    }
  }
  return std::nullopt;
}

/// The first rule of a kind (ReachRules' whole, partial, tunnel).
Match find_kind(const std::vector<const HostRules*>& hosts, const Request& request,
                Match ReachRules::* kind, std::size_t& steps) {
  for (const HostRules* host : hosts) {
    for (const ReachRules* rules : host->at(request.scheme, request.port, steps)) {
      if (rules->*kind) return rules->*kind;
    }
  }
  return std::nullopt;
}

Verdict denied(std::string rule, std::string reason) {
  return {
      .action = Action::deny, .rule = std::move(rule), .reason = std::move(reason), .limits = {}};
}

/// Puts the content of files into tables, layer by layer.
class Compiler {
 public:
  Result<void> add(const Layer& layer) {
    PINHOLE_TRY(LayerContent content, read_layer(layer));
    for (Rule& rule : content.allow) {
      append_warnings(rule, tables_.warnings);
      tables_.allow.insert(rule, static_cast<RuleIndex>(tables_.allow_rules.size()));
      tables_.allow_rules.push_back(std::move(rule));
    }
    for (Rule& rule : content.deny) {
      tables_.deny.insert(rule, static_cast<RuleIndex>(tables_.deny_rules.size()));
      tables_.deny_rules.push_back(std::move(rule));
    }
    // A later layer is closer to the person who starts this VM: the flag wins over the user's file.
    for (const Internal& line : content.internal) {
      tables_.internal[internal_key(line.host, line.port)] = line.address;
    }
    for (HostCa& line : content.ca) tables_.ca[line.host.name] = std::move(line.file);
    tables_.redact.insert(tables_.redact.end(), content.redact.begin(), content.redact.end());
    limits_.add(content.limits);
    canonical_.update(canonical_text(layer));
    return {};
  }

  Result<void> add(Builtin builtin) {
    const auto host = http::normalise_host(builtin.host);
    if (!host) return fail("rule {}: {}", builtin.id, host.error().detail);
    builtin.host = host->name;
    tables_.internal[internal_key(*host, builtin.port)] = builtin.address;
    canonical_.update(
        fmt::format("{};{};{};{};", builtin.id, host->name, builtin.port, builtin.path_prefix));
    tables_.builtins.push_back(std::move(builtin));
    return {};
  }

  Tables finish() {
    tables_.limits = limits_.limits();
    std::ranges::sort(tables_.redact);
    const auto [first, last] = std::ranges::unique(tables_.redact);
    tables_.redact.erase(first, last);
    tables_.hash = "sha256:" + canonical_.finish_hex();
    return std::move(tables_);
  }

 private:
  Tables tables_{.redact = {std::begin(kAlwaysRedacted), std::end(kAlwaysRedacted)}};
  LimitsMerge limits_;
  Sha256 canonical_;
};

}  // namespace

std::string internal_key(const http::Host& host, std::uint16_t port) {
  return fmt::format("{}:{}", host.in_url(), port);
}

Request Request::of(const http::RequestHead& head) {
  if (head.is_connect()) return connect(head.url.host, head.url.port);
  Request request = of(head.method, head.url);
  request.other_methods = http::overriding_methods(head.headers);
  return request;
}

Request Request::of(std::string method, const http::Url& url) {
  return {.way = Way::request,
          .method = std::move(method),
          .scheme = url.scheme,
          .host = url.host,
          .port = url.port,
          .path = url.path};
}

Request Request::connect(http::Host host, std::uint16_t port) {
  return {.way = Way::connect,
          .method = "CONNECT",
          .scheme = http::Scheme::https,
          .host = std::move(host),
          .port = port,
          .path = "/"};
}

// All parts are normalised, so that this is printable ASCII.
std::string Request::text() const {
  if (way == Way::connect) return fmt::format("CONNECT {}:{}", host.in_url(), port);
  std::string text = fmt::format("{} {}://{}", method, http::to_string(scheme), host.in_url());
  if (port != http::default_port(scheme)) text += fmt::format(":{}", port);
  text.append(path, 0, kLongestPath);
  if (path.size() > kLongestPath) text += "…";
  return text;
}

/// One decision: the tables, the request and what has been looked up for it.
class Decision {
 public:
  Decision(const Tables& tables, const Request& request, std::size_t& steps)
      : tables_(tables),
        request_(request),
        steps_(steps),
        denies_(tables.deny.matching(request.host, true, steps)),
        allows_(tables.allow.matching(request.host, false, steps)) {}

  Verdict decide() {
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

 private:
  Verdict decide_request(const Request& request) {
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
      return denied(
          "default",
          fmt::format("servers read the path of {} in more than one way, and {} allows only "
                      "one of them",
                      request.text(), tables_.allow_rules[found.front()].id));
    }
    return allowed_by(found, request);
  }

  Verdict decide_connect() {
    if (const Match deny = find_kind(denies_, request_, &ReachRules::whole, steps_)) {
      return denied_by(*deny, request_);
    }
    if (const Match deny = find_kind(denies_, request_, &ReachRules::partial, steps_)) {
      const Rule& rule = tables_.deny_rules[*deny];
      return denied(rule.id, why_not_unseen(request_, rule));
    }
    Match allow = find_kind(allows_, request_, &ReachRules::whole, steps_);
    if (!allow) allow = find_kind(allows_, request_, &ReachRules::tunnel, steps_);
    if (!allow) return denied("default", why_not(request_, allows_, tables_.allow_rules));
    return allowed_by({*allow}, request_);
  }

  Verdict denied_by(RuleIndex index, const Request& request) {
    const std::string& id = tables_.deny_rules[index].id;
    return denied(id, fmt::format("{} matches deny rule at {}", request.text(), id));
  }

  /// Several rules where the path has several readings: the smallest limits count.
  Verdict allowed_by(const std::vector<RuleIndex>& found, const Request& request) {
    const Rule& rule = tables_.allow_rules[found.front()];
    const bool is_internal = tables_.internal.contains(internal_key(request.host, request.port));
    for (const RuleIndex index : found) {
      const Rule& each = tables_.allow_rules[index];
      if (each.host.kind != HostPattern::Kind::any || !is_internal) continue;
      return denied(
          "default",
          fmt::format("\"*\" ({}) is for public hosts, and {}:{} is internal: allow it by name",
                      each.id, request.host.in_url(), request.port));
    }
    BodyLimits limits = tables_.limits.bodies;
    for (const RuleIndex index : found) limits = limits_of(tables_.allow_rules[index], limits);
    return {.action = Action::allow,
            .rule = rule.id,
            .reason = fmt::format("{} matches allow rule at {}", request.text(), rule.id),
            .limits = limits};
  }

  const Tables& tables_;
  const Request& request_;
  std::size_t& steps_;
  std::vector<const HostRules*> denies_;
  std::vector<const HostRules*> allows_;
};

Policy::Policy() : tables_(std::make_shared<const Tables>(Compiler().finish())) {}

Result<Policy> Policy::compile(std::vector<Layer> layers, std::vector<Builtin> builtins) {
  Compiler compiler;
  for (const Layer& layer : layers) PINHOLE_TRY_VOID(compiler.add(layer));
  for (Builtin& builtin : builtins) PINHOLE_TRY_VOID(compiler.add(std::move(builtin)));
  Policy policy;
  policy.tables_ = std::make_shared<const Tables>(compiler.finish());
  return policy;
}

Verdict Policy::decide(const Request& request, std::size_t* steps) const {
  for (const Builtin& builtin : tables_->builtins) {
    if (!matches(builtin, request)) continue;
    return {.action = Action::allow,
            .rule = builtin.id,
            .reason = fmt::format("{} matches {}", request.text(), builtin.id),
            .limits = tables_->limits.bodies};
  }
  std::size_t uncounted = 0;
  return Decision(*tables_, request, steps != nullptr ? *steps : uncounted).decide();
}

bool Policy::may_resolve(const http::Host& host, std::uint16_t port) const {
  const auto is_builtin = [&](const Builtin& b) { return b.host == host.name && b.port == port; };
  if (std::ranges::any_of(tables_->builtins, is_builtin)) return true;
  std::size_t steps = 0;
  const auto allows = tables_->allow.matching(host, false, steps);
  const auto denies = tables_->deny.matching(host, true, steps);
  for (const http::Scheme scheme : {http::Scheme::https, http::Scheme::http}) {
    const Request any{.scheme = scheme, .host = host, .port = port};
    const bool allowed = std::ranges::any_of(
        allows, [&](const HostRules* rules) { return !rules->at(scheme, port, steps).empty(); });
    if (allowed && !find_kind(denies, any, &ReachRules::whole, steps)) return true;
  }
  return false;
}

std::optional<http::Endpoint> Policy::internal_address(const http::Host& host,
                                                       std::uint16_t port) const {
  const auto found = tables_->internal.find(internal_key(host, port));
  if (found == tables_->internal.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> Policy::ca_file(const http::Host& host) const {
  const auto found = tables_->ca.find(host.name);
  if (found == tables_->ca.end()) return std::nullopt;
  return found->second;
}

std::vector<std::string> Policy::ca_files() const {
  std::set<std::string> files;
  for (const auto& [host, file] : tables_->ca) files.insert(file);
  return {files.begin(), files.end()};
}

const Limits& Policy::limits() const { return tables_->limits; }
const std::vector<std::string>& Policy::redacted_headers() const { return tables_->redact; }
const std::string& Policy::hash() const { return tables_->hash; }
const std::vector<std::string>& Policy::warnings() const { return tables_->warnings; }

}  // namespace pinhole::policy
