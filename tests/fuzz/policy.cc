// SPDX-License-Identifier: Apache-2.0
// Policy files and requests under them. Sections are divided by lines "%%"; the last one holds
// requests ("GET https://a.test/x", "POST+DELETE http://…", "CONNECT a.test:443"), the others are
// the files of the layers.
//
// A second, slow reading of the policy's grammar (docs/policy.md) decides as well: what it would
// deny must never be allowed.
#include "policy/policy.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "http/header.h"
#include "policy/presets.h"
#include "yaml/yaml.h"

namespace pinhole::policy {
namespace {

constexpr std::string_view kDivider = "\n%%\n";
constexpr LayerKind kKinds[] = {LayerKind::user, LayerKind::organisation, LayerKind::project,
                                LayerKind::session};

/// One rule as the oracle understands it.
struct Said {
  std::vector<std::string> methods;
  std::string host;  // "*", ".suffix" or a name
  std::optional<http::Scheme> scheme;
  std::optional<std::uint16_t> port;
  std::vector<http::Segments> paths;  // empty: any
  bool tunnel = false;
  bool raw = false;
  bool deny = false;

  [[nodiscard]] bool whole() const {
    return methods.empty() &&
           (paths.empty() || std::ranges::find(paths, http::Segments{"**"}) != paths.end());
  }
};

void say_target(Said& rule, std::string_view target) {
  if (const std::size_t at = target.find("://"); at != std::string_view::npos) {
    rule.raw = target.starts_with("tcp:") && !rule.deny;
    if (!target.starts_with("tcp:"))
      rule.scheme = target.substr(0, at) == "http" ? http::Scheme::http : http::Scheme::https;
    target.remove_prefix(at + 3);
  }
  if (const std::size_t slash = target.find('/'); slash != std::string_view::npos) {
    for (auto& path : http::path_readings(http::normalise_path(target.substr(slash)).value()))
      rule.paths.push_back(std::move(path));
    target = target.substr(0, slash);
  }
  const std::size_t bracket = target.find(']');
  const std::size_t colon = target.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) rule.port = http::parse_port(target.substr(colon + 1));
  const std::string_view name = target.substr(0, colon);
  if (name == "*") {
    rule.host = "*";
  } else if (name.starts_with("*.")) {
    rule.host = "." + http::normalise_host(name.substr(2)).value().name;
  } else {
    rule.host = http::normalise_host(name).value().name;
  }
}

Said said(const yaml::Node& item, bool deny) {
  Said rule{.deny = deny};
  if (item.kind == yaml::Node::Kind::scalar) {
    const std::size_t space = item.text.find(' ');
    if (space != std::string::npos) {
      for (const auto method : split(std::string_view(item.text).substr(0, space), ','))
        rule.methods.emplace_back(method);
    }
    say_target(rule,
               std::string_view(item.text).substr(space == std::string::npos ? 0 : space + 1));
    return rule;
  }
  say_target(rule, item.find("host")->text);
  if (const auto* methods = item.find("methods")) {
    for (const auto& method : methods->items) rule.methods.push_back(method.text);
  }
  if (const auto* paths = item.find("paths")) {
    for (const auto& path : paths->items) {
      for (auto& reading : http::path_readings(http::normalise_path(path.text).value()))
        rule.paths.push_back(std::move(reading));
    }
  }
  rule.tunnel = item.find("tls") != nullptr;
  return rule;
}

bool host_matches(const Said& rule, const http::Host& host) {
  if (rule.host == "*") return rule.deny || (!host.ip && host.name.contains('.'));
  if (rule.host.starts_with('.')) return !host.ip && host.name.ends_with(rule.host);
  return host.name == rule.host;
}

bool reach_matches(const Said& rule, http::Scheme scheme, std::uint16_t port) {
  if (rule.tunnel && scheme == http::Scheme::http) return false;
  if (rule.scheme && *rule.scheme != scheme) return false;
  if (rule.port) return *rule.port == port;
  return rule.deny || port == http::default_port(scheme);
}

bool path_matches(const http::Segments& pattern, const http::Segments& path) {
  std::size_t i = 0;
  for (; i < pattern.size(); ++i) {
    if (pattern[i] == "**" && i + 1 == pattern.size()) return path.size() > i;
    if (i >= path.size()) return false;
    if (pattern[i] == "*" ? path[i].empty() : pattern[i] != path[i]) return false;
  }
  return path.size() == i;
}

/// What every layer says together.
struct Oracle {
  std::vector<Said> rules;
  std::vector<std::vector<Said>> ceilings;
  std::vector<std::string> internal;  // host:port
  bool exact_only = false;            // an upstream_proxy is set

  void add(const yaml::Document& document) {
    if (const auto* internal_list = document.root.find("internal")) {
      for (const auto& item : internal_list->items) {
        const auto authority =
            http::parse_authority(trim(std::string_view(item.text).substr(0, item.text.find("->"))))
                .value();
        internal.push_back(fmt::format("{}:{}", authority.host.in_url(), *authority.port));
      }
    }
    if (const auto* ceiling = document.root.find("ceiling")) {
      ceilings.emplace_back();
      for (const auto& item : ceiling->items) ceilings.back().push_back(said(item, false));
    }
    exact_only = exact_only || document.root.find("upstream_proxy") != nullptr;
    const auto* egress = document.root.find("egress");
    if (egress == nullptr) return;
    if (const auto* use = egress->find("use")) {
      for (const auto& item : use->items) add_preset(item.text);
    }
    for (const std::string_view key : {"allow", "deny"}) {
      const auto* list = egress->find(key);
      if (list == nullptr) continue;
      for (const auto& item : list->items) rules.push_back(said(item, key == "deny"));
    }
  }

  void add_preset(std::string_view name) {
    const auto document = yaml::parse(find_preset(name)->text, "preset").value();
    for (const auto& item : document.root.find("egress")->find("allow")->items)
      rules.push_back(said(item, false));
  }

  [[nodiscard]] bool speaks_for(const Said& rule, const Request& request) const {
    const bool is_internal =
        std::ranges::find(internal, fmt::format("{}:{}", request.host.in_url(), request.port)) !=
        internal.end();
    if (!rule.deny && rule.host == "*" && is_internal) return false;
    const bool is_pattern = rule.host == "*" || rule.host.starts_with('.');
    if (!rule.deny && is_pattern && exact_only) return false;
    return host_matches(rule, request.host) && reach_matches(rule, request.scheme, request.port);
  }

  /// What `rule` would be asked about a connection that carries `scheme`.
  [[nodiscard]] bool speaks_for(const Said& rule, Request request, http::Scheme scheme) const {
    request.scheme = scheme;
    return speaks_for(rule, request);
  }

  /// For a whole connection, or for one request that could be in it.
  [[nodiscard]] bool under_ceilings(const Request& request, Handling handling,
                                    http::Scheme scheme) const {
    return std::ranges::all_of(ceilings, [&](const std::vector<Said>& ceiling) {
      return std::ranges::any_of(ceiling, [&](const Said& rule) {
        if (!host_matches(rule, request.host) || !reach_matches(rule, scheme, request.port))
          return false;
        if (rule.raw || handling == Handling::raw) return rule.raw && handling == Handling::raw;
        return handling == Handling::tunnel ? rule.tunnel || rule.whole() : !rule.tunnel;
      });
    });
  }

  [[nodiscard]] bool under_ceilings(const Request& request, const std::string& method,
                                    const http::Segments& path) const {
    return std::ranges::all_of(ceilings, [&](const std::vector<Said>& ceiling) {
      return std::ranges::any_of(ceiling, [&](const Said& rule) {
        return !rule.raw && !rule.tunnel && host_matches(rule, request.host) &&
               reach_matches(rule, request.scheme, request.port) && fits(rule, method, path);
      });
    });
  }

  static bool fits(const Said& rule, const std::string& method, const http::Segments& path) {
    const bool method_fits =
        rule.methods.empty() || std::ranges::find(rule.methods, method) != rule.methods.end();
    return method_fits &&
           (rule.paths.empty() || std::ranges::any_of(rule.paths, [&](const auto& pattern) {
              return path_matches(pattern, path);
            }));
  }

  /// Raw before tunnel before inspection; only what is inspected can be denied later.
  [[nodiscard]] std::optional<Handling> allows_connect(const Request& request) const {
    using enum http::Scheme;
    const auto any = [&](auto&& matches) { return std::ranges::any_of(rules, matches); };
    const auto denied = [&](http::Scheme scheme, bool whole_only) {
      return any([&](const Said& rule) {
        return rule.deny && speaks_for(rule, request, scheme) && (!whole_only || rule.whole());
      });
    };
    if (any([&](const Said& rule) { return rule.raw && speaks_for(rule, request); })) {
      if (denied(https, false) || denied(http, false)) return std::nullopt;
      if (!under_ceilings(request, Handling::raw, https)) return std::nullopt;
      return Handling::raw;
    }
    if (any([&](const Said& rule) { return rule.tunnel && speaks_for(rule, request, https); })) {
      if (denied(https, false)) return std::nullopt;
      if (!under_ceilings(request, Handling::tunnel, https)) return std::nullopt;
      return Handling::tunnel;
    }
    for (const http::Scheme scheme : {https, http}) {
      const bool allowed = any([&](const Said& rule) {
        return !rule.deny && !rule.tunnel && !rule.raw && speaks_for(rule, request, scheme);
      });
      if (allowed && !denied(scheme, true) && under_ceilings(request, Handling::inspect, scheme))
        return Handling::inspect;
    }
    return std::nullopt;
  }

  [[nodiscard]] bool allows_method(const Request& request, const std::string& method) const {
    const auto readings = http::path_readings(request.path);
    return std::ranges::all_of(readings, [&](const http::Segments& path) {
      bool allowed = false;
      for (const Said& rule : rules) {
        if (rule.tunnel || rule.raw || !speaks_for(rule, request)) continue;
        if (!fits(rule, method, path)) continue;
        if (rule.deny) return false;
        allowed = true;
      }
      return allowed && under_ceilings(request, method, path);
    });
  }

  [[nodiscard]] bool allows(const Request& request) const {
    if (request.way == Way::connect) return allows_connect(request).has_value();
    if (!allows_method(request, request.method)) return false;
    return std::ranges::all_of(request.other_methods, [&](const std::string& method) {
      return method.size() <= 32 && allows_method(request, method);
    });
  }
};

std::optional<Request> read_request(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto methods = split(line.substr(0, space), '+');
  if (methods[0] == "CONNECT") {
    const auto authority = http::parse_authority(line.substr(space + 1));
    if (!authority || !authority->port) return std::nullopt;
    return Request::connect(authority->host, *authority->port);
  }
  const auto url = http::parse_url(line.substr(space + 1));
  if (!url || !http::is_token(methods[0]) || methods[0].size() > 32) return std::nullopt;
  Request request = Request::of(std::string(methods[0]), *url);
  for (std::size_t i = 1; i < methods.size(); ++i) request.other_methods.emplace_back(methods[i]);
  return request;
}

struct Compiled {
  Policy policy;
  Oracle oracle;
};

/// Nothing where a layer is refused; then nothing may be allowed either, and there is no policy to
/// allow it.
std::optional<Compiled> compile(const std::vector<std::string_view>& texts,
                                std::string_view more = {}) {
  Compiled compiled;
  std::vector<Layer> layers;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto document = yaml::parse(texts[i], "p.yaml");
    if (!document) return std::nullopt;
    layers.push_back(
        {.kind = kKinds[i % std::size(kKinds)], .document = *document, .foreign_keys = {"vm"}});
  }
  if (!more.empty()) {
    auto document = yaml::parse(more, "d.yaml");
    if (!document) return std::nullopt;
    layers.push_back({.kind = LayerKind::session, .document = *std::move(document)});
  }
  const std::vector<Layer> kept = layers;
  auto policy = Policy::compile(std::move(layers));
  if (!policy) {
    PINHOLE_CHECK(!policy.error().message.empty());
    return std::nullopt;
  }
  compiled.policy = *std::move(policy);
  for (const Layer& layer : kept) compiled.oracle.add(layer.document);
  return compiled;
}

void check_request(const Compiled& compiled, std::span<const Compiled> narrower,
                   const Request& request) {
  const Verdict verdict = compiled.policy.decide(request);
  for (const char c : verdict.reason)
    PINHOLE_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  const bool expected = compiled.oracle.allows(request);
  PINHOLE_CHECK(!verdict.allowed() || expected);
  // The other way round only where no pattern that matches first is one that allows nothing.
  if (compiled.oracle.internal.empty() && !compiled.oracle.exact_only)
    PINHOLE_CHECK(verdict.allowed() == expected);
  if (verdict.allowed()) {
    if (request.way == Way::connect)
      PINHOLE_CHECK(verdict.handling == compiled.oracle.allows_connect(request));
    PINHOLE_CHECK((verdict.rule.starts_with("p.yaml:") || verdict.rule.starts_with("preset:")) &&
                  !verdict.reason.empty());
    PINHOLE_CHECK(compiled.policy.may_resolve(request.host, request.port));
    const BodyLimits& all = compiled.policy.limits().bodies;
    PINHOLE_CHECK(verdict.limits.request_body <= all.request_body &&
                  verdict.limits.response_body <= all.response_body);
  }
  for (const Compiled& narrow : narrower) {
    const Verdict narrowed = narrow.policy.decide(request);
    PINHOLE_CHECK(!narrowed.allowed() || verdict.allowed());
    PINHOLE_CHECK(!narrow.policy.may_resolve(request.host, request.port) ||
                  compiled.policy.may_resolve(request.host, request.port));
  }
  PINHOLE_CHECK(!narrower.front().policy.decide(request).allowed());
  static const Policy nothing;
  PINHOLE_CHECK(!nothing.decide(request).allowed());
}

/// Files that say less of what the policy says: its own rules, one by one, as denies and as ceilings.
std::vector<std::string> narrowing(const Oracle& oracle) {
  constexpr std::size_t kMost = 4;
  std::vector<std::string> texts;
  for (const Said& rule : oracle.rules) {
    if (texts.size() >= 2 * kMost) break;
    const std::string host = (rule.host.starts_with('.') ? "*" : "") +
                             (rule.host.contains(':') ? "[" + rule.host + "]" : rule.host);
    std::string target = host;
    if (rule.port) target += fmt::format(":{}", *rule.port);
    if (rule.scheme) target = fmt::format("{}://{}", http::to_string(*rule.scheme), target);
    if (!rule.methods.empty()) target = rule.methods.front() + " " + target;
    texts.push_back(fmt::format("egress: {{deny: ['{}']}}", target));
    texts.push_back(fmt::format("ceiling: ['{}']", target));
  }
  return texts;
}

void play(std::string_view text) {
  std::vector<std::string_view> sections;
  for (;;) {
    const std::size_t at = text.find(kDivider);
    sections.push_back(text.substr(0, at));
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + kDivider.size());
  }
  const std::string_view requests = sections.back();
  sections.pop_back();
  if (sections.size() > std::size(kKinds)) return;
  const auto compiled = compile(sections);
  if (!compiled) return;
  std::vector<Compiled> narrower;
  narrower.push_back(compile(sections, "egress: {deny: ['*']}").value());
  for (const std::string& more : narrowing(compiled->oracle)) {
    if (auto narrow = compile(sections, more)) narrower.push_back(*std::move(narrow));
  }
  for (const std::string_view line : split(requests, '\n')) {
    if (const auto request = read_request(line)) check_request(*compiled, narrower, *request);
  }
}

/// Pieces that a rule or a request is made of.
std::vector<std::string_view> words_of(std::string_view text) {
  constexpr std::string_view kBetween = " \n\t,:/[]{}\"'-";
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t start = text.find_first_not_of(kBetween);
    if (start == std::string_view::npos) break;
    text.remove_prefix(start);
    words.push_back(text.substr(0, text.find_first_of(kBetween)));
    text.remove_prefix(words.back().size());
  }
  return words;
}

/// Lines moved and words exchanged: what a request asks for stays near what the rules say.
std::string rearranged(std::string_view text, fuzz::Dice& dice) {
  std::vector<std::string> lines;
  for (const auto line : split(text, '\n')) lines.emplace_back(line);
  const std::size_t at = dice.below(lines.size());
  const std::size_t other = dice.below(lines.size());
  switch (dice.below(5)) {
    case 0:
      lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(at), lines[other]);
      break;
    case 1:
      if (lines.size() > 1) lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 2:
      std::swap(lines[at], lines[other]);
      break;
    default: {
      const auto own = words_of(lines[at]);
      const auto others = words_of(text);
      if (own.empty() || others.empty()) break;
      const auto offset =
          static_cast<std::size_t>(own[dice.below(own.size())].data() - lines[at].data());
      const std::size_t length = lines[at].find_first_of(" \n\t,:/[]{}\"'-", offset) - offset;
      lines[at].replace(offset, length, others[dice.below(others.size())]);
      break;
    }
  }
  std::string out;
  for (const std::string& line : lines)
    out.append(out.empty() && &line == &lines.front() ? "" : "\n").append(line);
  return out;
}

}  // namespace
}  // namespace pinhole::policy

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::policy::play(pinhole::fuzz::text_of(data, size));
  return 0;
}

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed) {
  pinhole::fuzz::Dice dice(seed);
  if (size == 0 || dice.below(2) == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::string text(pinhole::fuzz::text_of(data, size));
  for (std::size_t count = 1 + dice.below(3); count > 0; --count)
    text = pinhole::policy::rearranged(text, dice);
  return pinhole::fuzz::put_back(text, data, max_size);
}
