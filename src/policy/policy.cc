// SPDX-License-Identifier: Apache-2.0
#include "policy/policy.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/sha256.h"
#include "policy/decision.h"
#include "policy/presets.h"
#include "policy/tables.h"

namespace pinhole::policy {
namespace {

constexpr std::size_t kLongestPath = 300;  // in a reason

constexpr std::string_view kAlwaysRedacted[] = {"authorization", "cookie", "proxy-authorization",
                                                "set-cookie"};

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
    if (given.rate) limits_.rate = limits_.rate ? slower(*limits_.rate, *given.rate) : *given.rate;
    if (given.concurrent) {
      limits_.concurrent =
          std::min(limits_.concurrent.value_or(*given.concurrent), *given.concurrent);
    }
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

/// Puts the content of files into tables, layer by layer.
class Compiler {
 public:
  Result<void> add(const Layer& layer) {
    PINHOLE_TRY(LayerContent content, read_layer(layer));
    for (const std::string& name : content.presets) {
      PINHOLE_TRY_VOID(add_preset(name, layer.document));
    }
    for (Rule& rule : content.allow) {
      PINHOLE_TRY_VOID(check_one_kind(rule, layer.document, rule.mark));
      add_allow(std::move(rule));
    }
    if (content.ceiling) add_ceiling(std::move(content.ceiling_id), *std::move(content.ceiling));
    for (Rule& rule : content.deny) {
      tables_.deny.insert(rule, static_cast<RuleIndex>(tables_.deny_rules.size()));
      tables_.deny_rules.push_back(std::move(rule));
    }
    // A later layer is closer to the person who starts this VM: the flag wins over the user's file.
    for (const Internal& line : content.internal) {
      tables_.internal[internal_key(line.host, line.port)] = line.address;
    }
    for (HostCa& line : content.ca) tables_.ca[line.host.name] = std::move(line.file);
    for (SecretSpec& secret : content.secrets) put(std::move(secret));
    if (!content.resolver.empty()) tables_.resolver = std::move(content.resolver);
    if (content.upstream_proxy) tables_.upstream_proxy = std::move(content.upstream_proxy);
    add(content.audit);
    limits_.add(content.limits);
    canonical_.update(canonical_text(layer));
    return {};
  }

  Result<void> add(Builtin builtin) {
    const auto host = http::normalise_host(builtin.host);
    if (!host) return fail("rule {}: {}", builtin.id, host.error().detail);
    builtin.host = host->name;
    tables_.internal[internal_key(*host, builtin.port)] = builtin.address;
    tables_.builtins.push_back(std::move(builtin));
    return {};
  }

  Tables finish() {
    std::ranges::sort(tables_.secrets, {}, &SecretSpec::name);
    warn_of_unknown_secrets();
    gather_ports();
    tables_.limits = limits_.limits();
    std::ranges::sort(tables_.redact);
    const auto [first, last] = std::ranges::unique(tables_.redact);
    tables_.redact.erase(first, last);
    tables_.hash = "sha256:" + canonical_.finish_hex();
    return std::move(tables_);
  }

 private:
  void add_allow(Rule rule) {
    append_warnings(rule, tables_.warnings);
    tables_.allow.insert(rule, static_cast<RuleIndex>(tables_.allow_rules.size()));
    tables_.allow_rules.push_back(std::move(rule));
  }

  /// Nobody can tell what a port is for where one rule means bytes and another one requests.
  Result<void> check_one_kind(const Rule& rule, const yaml::Document& document, yaml::Mark mark) {
    for (const Reach& reach : rule.reaches) {
      const std::string place = fmt::format("{}:{}", rule.host.text(), reach.port.value_or(0));
      auto& own = rule.raw ? raw_places_ : http_places_;
      const auto& other = rule.raw ? http_places_ : raw_places_;
      own.emplace(place, rule.id);
      const auto found = other.find(place);
      if (found == other.end()) continue;
      return fail(yaml::error_at(
          document, mark,
          fmt::format("{} is for raw TCP by one rule and for HTTP by another one: {} and {}", place,
                      rule.raw ? rule.id : found->second, rule.raw ? found->second : rule.id)));
    }
    return {};
  }

  void add_ceiling(std::string id, std::vector<Rule> rules) {
    Ceiling ceiling{.id = std::move(id), .rules = std::move(rules), .table = {}};
    for (RuleIndex i = 0; i < ceiling.rules.size(); ++i) ceiling.table.insert(ceiling.rules[i], i);
    if (ceiling.rules.empty()) {
      tables_.warnings.push_back(
          fmt::format("{}: the ceiling is empty: nothing at all is allowed", ceiling.id));
    }
    tables_.ceilings.push_back(std::move(ceiling));
  }

  /// The hash is over its text too, which changes with the program.
  Result<void> add_preset(const std::string& name, const yaml::Document& user) {
    if (std::ranges::find(tables_.presets, name) != tables_.presets.end()) return {};
    tables_.presets.push_back(name);
    const Preset* preset = find_preset(name);
    PINHOLE_CHECK(preset != nullptr);  // read_layer() looked
    PINHOLE_TRY(std::vector<Rule> rules, rules_of(*preset));
    for (Rule& rule : rules) {
      PINHOLE_TRY_VOID(check_one_kind(rule, user, user.root.mark));
      add_allow(std::move(rule));
    }
    canonical_.update(fmt::format("preset {} {};", preset->text.size(), preset->text));
    return {};
  }

  void put(SecretSpec secret) {
    std::erase_if(tables_.secrets, [&](const SecretSpec& s) { return s.name == secret.name; });
    tables_.secrets.push_back(std::move(secret));
  }

  void add(const GivenAudit& audit) {
    tables_.audit.bodies = std::max(tables_.audit.bodies, audit.settings.bodies);
    tables_.audit.sync = std::max(tables_.audit.sync, audit.settings.sync);
    tables_.redact.insert(tables_.redact.end(), audit.redact.begin(), audit.redact.end());
  }

  /// A project may name what only the user can define; until then its requests go without.
  void warn_of_unknown_secrets() {
    for (const Rule& rule : tables_.allow_rules) {
      for (const std::string& name : rule.secrets.value_or(std::vector<std::string>())) {
        if (std::ranges::find(tables_.secrets, name, &SecretSpec::name) != tables_.secrets.end())
          continue;
        tables_.warnings.push_back(fmt::format(
            "{}: no file defines the secret {}; the user's own file can, under \"secrets\"",
            rule.id, name));
      }
    }
  }

  /// In the order of the files, so that those are left out that come last.
  void gather_ports() {
    std::set<std::uint16_t> ports(std::begin(kAlwaysPorts), std::end(kAlwaysPorts));
    std::set<std::uint16_t> web_ports{kHttpPort, kHttpsPort};
    std::set<std::uint16_t> raw_ports, left_out;
    for (const Rule& rule : tables_.allow_rules) {
      for (const Reach& reach : rule.reaches) {
        if (!reach.port) continue;
        if (!rule.raw) web_ports.insert(*reach.port);
        if (rule.raw && *reach.port != kHttpPort && *reach.port != kHttpsPort)
          raw_ports.insert(*reach.port);
        if (ports.contains(*reach.port)) continue;
        (ports.size() < Policy::kMostPorts ? ports : left_out).insert(*reach.port);
      }
    }
    tables_.ports.assign(ports.begin(), ports.end());
    std::ranges::set_difference(web_ports, raw_ports, std::back_inserter(tables_.web_ports));
    if (left_out.empty()) return;
    tables_.warnings.push_back(
        fmt::format("{} ports are allowed; connections to {} of them, {} among them, are carried "
                    "for programs that use the proxy variables alone",
                    ports.size() + left_out.size(), left_out.size(), *left_out.begin()));
  }

  Tables tables_{.redact = {std::begin(kAlwaysRedacted), std::end(kAlwaysRedacted)}};
  LimitsMerge limits_;
  TextMap<std::string> raw_places_;  // "host:port", the rule's id
  TextMap<std::string> http_places_;
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
            .limits = {tables_->limits.bodies, {}, {}}};
  }
  std::size_t uncounted = 0;
  return Decision(*tables_, request, steps != nullptr ? *steps : uncounted).decide();
}

std::vector<MatchingRule> Policy::matching_rules(const Request& request) const {
  std::vector<MatchingRule> found;
  const auto append = [&](std::span<const Rule> rules, RuleList list) {
    for (const Rule& rule : rules) {
      if (fits(rule, request, list)) found.push_back({rule.id, to_string(list)});
    }
  };
  append(tables_->deny_rules, RuleList::deny);
  append(tables_->allow_rules, RuleList::allow);
  for (const Ceiling& ceiling : tables_->ceilings) append(ceiling.rules, RuleList::ceiling);
  return found;
}

bool Policy::may_resolve(const http::Host& host, std::uint16_t port) const {
  const auto is_builtin = [&](const Builtin& b) { return b.host == host.name && b.port == port; };
  if (std::ranges::any_of(tables_->builtins, is_builtin)) return true;
  return Decision::may_be_reached(*tables_, host, port);
}

const std::vector<std::uint16_t>& Policy::ports() const { return tables_->ports; }

bool Policy::is_web_port(std::uint16_t port) const {
  return std::ranges::binary_search(tables_->web_ports, port);
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

const std::vector<SecretSpec>& Policy::secrets() const { return tables_->secrets; }

bool Policy::secret_may_go(std::string_view name, const http::Host& host) const {
  const auto found = std::ranges::find(tables_->secrets, name, &SecretSpec::name);
  return found != tables_->secrets.end() && found->may_go_to(host);
}

const std::vector<http::Endpoint>& Policy::resolver_servers() const { return tables_->resolver; }
const std::optional<UpstreamProxy>& Policy::upstream_proxy() const {
  return tables_->upstream_proxy;
}
const AuditSettings& Policy::audit() const { return tables_->audit; }
const Limits& Policy::limits() const { return tables_->limits; }
const std::vector<std::string>& Policy::redacted_headers() const { return tables_->redact; }
const std::string& Policy::hash() const { return tables_->hash; }
const std::vector<std::string>& Policy::warnings() const { return tables_->warnings; }

}  // namespace pinhole::policy
