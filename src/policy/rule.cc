// SPDX-License-Identifier: Apache-2.0
#include "policy/rule.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/ranges.h>

#include "base/printable.h"
#include "base/strings.h"
#include "http/header.h"
#include "policy/sections.h"
#include "yaml/mapping_reader.h"

namespace pinhole::policy {
namespace {

using yaml::Document;
using yaml::Mark;
using yaml::Node;

// Bounds of one rule; a file's are in layer.cc.
constexpr std::size_t kMostMethods = 16;
constexpr std::size_t kMostPaths = 1000;
constexpr std::size_t kMostSegments = 64;
// Each doubles what a path can match in the worst case, and nobody needs many.
constexpr std::size_t kMostWildcards = 8;
constexpr std::size_t kMostSecrets = 32;

constexpr std::array<std::string_view, 15> kKnownMethods = {
    "GET",   "HEAD",     "POST",  "PUT",  "DELETE", "CONNECT", "OPTIONS", "TRACE",
    "PATCH", "PROPFIND", "MKCOL", "COPY", "MOVE",   "REPORT",  "QUERY"};

/// A piece of the file and where it begins, so that an error can point at the right character.
struct Piece {
  std::string_view text;
  Mark mark;

  [[nodiscard]] Piece from(std::size_t offset, std::size_t length = std::string_view::npos) const {
    return {text.substr(offset, length), {mark.line, mark.column + offset}};
  }
};

Piece piece_of(const Node& node) {
  return {node.text, {node.mark.line, node.mark.column + (node.plain ? 0 : 1)}};
}

/// Reads the parts of one rule; each function is a production of the grammar in rule.h.
class RuleReader {
 public:
  RuleReader(const Document& document, RuleList list) : document_(document), list_(list) {}

  Result<Rule> short_form(const Node& node) {
    start(node);
    const Piece all = piece_of(node);
    const std::size_t space = all.text.find(' ');
    if (space == std::string_view::npos) {
      PINHOLE_TRY_VOID(target(all, true));
    } else {
      if (all.text.find(' ', space + 1) != std::string_view::npos) {
        return error(all.from(all.text.find(' ', space + 1)),
                     "a rule has at most one space, between methods and target");
      }
      PINHOLE_TRY_VOID(methods(all.from(0, space)));
      PINHOLE_TRY_VOID(target(all.from(space + 1), true));
    }
    return checked(node);
  }

  Result<Rule> long_form(const Node& node) {
    start(node);
    yaml::MappingReader r(document_, node, "a rule");
    const std::string host = r.required_string("host");
    const Node* tls = r.optional_node("tls");
    const auto method_list = r.list("methods");
    const auto path_list = r.list("paths");
    const Node* secret_list = r.optional_node("secrets");
    const auto secret_names = r.string_list("secrets");
    const Node* limits = r.optional_mapping("limits");
    PINHOLE_TRY_VOID(r.finish());
    PINHOLE_TRY_VOID(target(piece_of(*node.find("host")), false));
    PINHOLE_TRY_VOID(list_of_methods(node.find("methods"), method_list));
    PINHOLE_TRY_VOID(list_of_paths(node.find("paths"), path_list));
    if (tls != nullptr) PINHOLE_TRY_VOID(tunnel(*tls));
    if (secret_list != nullptr) PINHOLE_TRY_VOID(secrets(*secret_list, secret_names));
    if (limits != nullptr) PINHOLE_TRY_VOID(rule_limits(*limits));
    return checked(node);
  }

 private:
  std::unexpected<Error> error(Mark mark, std::string_view message, std::string_view hint = {}) {
    return fail(yaml::error_at(document_, mark, message, hint));
  }
  std::unexpected<Error> error(const Piece& piece, std::string_view message,
                               std::string_view hint = {}) {
    return error(piece.mark, message, hint);
  }

  /// What the parts only show together.
  Result<Rule> checked(const Node& node) {
    if (rule_.raw && !rule_.methods.empty()) {
      return error(piece_of(node), "a tcp:// rule has no methods: its bytes are not looked into");
    }
    // Whatever is spoken on the port: bytes in the clear, TLS and HTTP are all denied.
    if (list_ == RuleList::deny) rule_.raw = false;
    return std::move(rule_);
  }

  std::unexpected<Error> no_meaning(Mark mark, std::string_view key) {
    return error(mark, fmt::format("\"{}\" has no meaning in a {} rule", key, to_string(list_)));
  }

  void start(const Node& node) {
    rule_ = Rule{};
    rule_.mark = node.mark;
    rule_.id = fmt::format("{}:{}", document_.source, node.mark.line);
  }

  Result<void> methods(const Piece& piece) {
    std::size_t offset = 0;
    for (const std::string_view part : split(piece.text, ',')) {
      PINHOLE_TRY_VOID(method(piece.from(offset, part.size())));
      offset += part.size() + 1;
    }
    return {};
  }

  Result<void> list_of_methods(const Node* node, std::span<const Node> items) {
    if (node != nullptr && items.empty()) return error(node->mark, "\"methods\" is an empty list");
    for (const Node& item : items) {
      PINHOLE_TRY_VOID(yaml::read_string(document_, item, "a method"));
      PINHOLE_TRY_VOID(method(piece_of(item)));
    }
    return {};
  }

  Result<void> method(const Piece& piece) {
    const std::string name(piece.text);
    std::string upper = name;
    for (char& c : upper) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    if (!http::is_token(name)) {
      return error(piece, fmt::format("\"{}\" is not a method", printable(name, 40)));
    }
    const bool is_known = std::ranges::find(kKnownMethods, name) != kKnownMethods.end();
    if (!is_known) {
      const auto near = closest(upper, kKnownMethods);
      if (upper != name || near) {
        return error(piece, fmt::format("unknown method \"{}\"", name), near ? *near : upper);
      }
    }
    if (name == "CONNECT") {
      return error(piece, "CONNECT is not a method of a rule; use {host: …, tls: tunnel}");
    }
    if (std::ranges::find(rule_.methods, name) != rule_.methods.end()) {
      return error(piece, fmt::format("method \"{}\" is given twice", name));
    }
    if (rule_.methods.size() >= kMostMethods) {
      return error(piece, fmt::format("more than {} methods", kMostMethods));
    }
    rule_.methods.push_back(name);
    return {};
  }

  Result<void> target(Piece piece, bool may_have_path) {
    const Piece all = piece;
    std::optional<http::Scheme> scheme;
    if (const std::size_t at = piece.text.find("://"); at != std::string_view::npos) {
      rule_.raw = piece.text.substr(0, at) == "tcp";
      if (!rule_.raw) {
        PINHOLE_TRY(scheme, this->scheme(piece.from(0, at)));
      }
      piece = piece.from(at + 3);
    }
    const std::size_t slash = piece.text.find('/');
    if (slash != std::string_view::npos) {
      if (rule_.raw) return error(piece.from(slash), "a tcp:// rule has no path");
      if (!may_have_path) return error(piece.from(slash), "a path belongs into \"paths\"");
      PINHOLE_TRY_VOID(path(piece.from(slash)));
      piece = piece.from(0, slash);
    }
    PINHOLE_TRY(const auto port, host_and_port(piece));
    if (rule_.raw && list_ != RuleList::deny && !port) {
      return error(all, "a tcp:// rule needs a port, as in tcp://db.example.com:5432");
    }
    rule_.reaches = reaches(scheme, port);
    return {};
  }

  Result<http::Scheme> scheme(const Piece& piece) {
    if (piece.text == "http") return http::Scheme::http;
    if (piece.text == "https") return http::Scheme::https;
    return error(piece, fmt::format("unknown scheme \"{}\"; http, https and tcp are known",
                                    printable(piece.text, 40)));
  }

  Result<std::optional<std::uint16_t>> host_and_port(const Piece& piece) {
    auto read = parse_host_pattern(piece.text);
    if (!read) {
      const PatternFault& fault = read.error();
      return error(piece.from(fault.offset), fault.message, fault.suggestion);
    }
    rule_.host = std::move(read->host);
    return read->port;
  }

  [[nodiscard]] std::vector<Reach> reaches(std::optional<http::Scheme> scheme,
                                           std::optional<std::uint16_t> port) const {
    using enum http::Scheme;
    if (list_ == RuleList::deny || rule_.raw) return {{scheme, port}};
    if (scheme) return {{scheme, port.value_or(http::default_port(*scheme))}};
    return {{https, port.value_or(443)}, {http, port.value_or(80)}};
  }

  Result<void> list_of_paths(const Node* node, std::span<const Node> items) {
    if (node != nullptr && items.empty()) return error(node->mark, "\"paths\" is an empty list");
    for (const Node& item : items) {
      PINHOLE_TRY_VOID(yaml::read_string(document_, item, "a path"));
      PINHOLE_TRY_VOID(path(piece_of(item)));
    }
    return {};
  }

  Result<void> path(const Piece& piece) {
    if (const std::size_t at = piece.text.find_first_of("?#"); at != std::string_view::npos) {
      return error(piece.from(at), "the query is not part of a rule");
    }
    if (to_lower(piece.text).contains("%2a")) {
      return error(piece, "a path with a literal \"*\" (%2A) cannot be written");
    }
    const auto normal = http::normalise_path(piece.text);
    if (!normal) return error(piece, normal.error().detail);
    const std::string text(piece.text);
    if (std::ranges::find(rule_.paths, text) != rule_.paths.end()) {
      return error(piece, fmt::format("path \"{}\" is given twice", printable(text, 80)));
    }
    if (rule_.paths.size() >= kMostPaths) {
      return error(piece, fmt::format("more than {} paths", kMostPaths));
    }
    rule_.paths.push_back(text);
    // A rule means all readings of its path, as a request is matched by all of its own.
    for (http::Segments& segments : http::path_readings(*normal)) {
      PINHOLE_TRY(PathPattern pattern, this->pattern(piece, std::move(segments)));
      rule_.patterns.push_back(std::move(pattern));
    }
    return {};
  }

  Result<PathPattern> pattern(const Piece& piece, http::Segments segments) {
    PathPattern pattern;
    pattern.rest = segments.back() == "**";
    if (pattern.rest) segments.pop_back();
    if (segments.size() > kMostSegments) {
      return error(piece, fmt::format("a path of more than {} segments", kMostSegments));
    }
    std::size_t wildcards = 0;
    for (const std::string& segment : segments) {
      if (segment == "**") return error(piece, "\"**\" may only be the last segment of a path");
      if (segment == "*") {
        ++wildcards;
      } else if (segment.contains('*')) {
        return error(piece,
                     fmt::format("\"*\" stands for a whole segment; \"{}\" mixes it with text",
                                 printable(segment, 80)));
      }
    }
    if (wildcards > kMostWildcards) {
      return error(piece, fmt::format("more than {} \"*\" in a path", kMostWildcards));
    }
    pattern.segments = std::move(segments);
    return pattern;
  }

  Result<void> tunnel(const Node& node) {
    if (node.text != "tunnel" || node.kind != Node::Kind::scalar) {
      return error(node.mark,
                   fmt::format("\"tls\" expects tunnel, found {}", yaml::describe(node)));
    }
    if (list_ == RuleList::deny) return no_meaning(node.key_mark, "tls");
    if (rule_.raw) return error(node.key_mark, "\"tls\" does not go with tcp://");
    if (!rule_.methods.empty() || !rule_.paths.empty()) {
      return error(node.key_mark,
                   "methods and paths cannot be checked in a tunnel; give one or the other");
    }
    std::erase_if(rule_.reaches, [](const Reach& r) { return r.scheme == http::Scheme::http; });
    if (rule_.reaches.empty()) return error(node.key_mark, "a tunnel is for https, not for http");
    rule_.tunnel = true;
    return {};
  }

  Result<void> secrets(const Node& node, const std::vector<std::string>& names) {
    if (list_ != RuleList::allow) return no_meaning(node.key_mark, "secrets");
    if (rule_.raw || rule_.tunnel) {
      return error(
          node.key_mark,
          "no secret can be put into bytes that are not looked into; leave \"secrets\" out");
    }
    if (names.size() > kMostSecrets) {
      return error(node.mark, fmt::format("more than {} secrets", kMostSecrets));
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (!is_secret_name(names[i])) {
        return error(node.items[i].mark,
                     fmt::format("\"{}\" is not the name of a secret", printable(names[i], 40)));
      }
    }
    rule_.secrets = names;
    return {};
  }

  Result<void> rule_limits(const Node& node) {
    yaml::MappingReader r(document_, node, "\"limits\"");
    rule_.request_body = r.optional_size("request_body");
    rule_.response_body = r.optional_size("response_body");
    rule_.rate = read_rate(document_, r);
    rule_.concurrent = r.optional_u64("concurrent", {1, kMostConcurrent});
    PINHOLE_TRY_VOID(r.finish());
    if (list_ != RuleList::allow) return no_meaning(node.key_mark, "limits");
    return {};
  }

  const Document& document_;
  RuleList list_;
  Rule rule_;
};

}  // namespace

std::string_view to_string(RuleList list) {
  switch (list) {
    case RuleList::allow:
      return "allow";
    case RuleList::deny:
      return "deny";
    case RuleList::ceiling:
      return "ceiling";
  }
  return "";
}

namespace {

/// "https://api.example.com:8443", or less where the short form needs less.
std::string place_of(const Rule& rule) {
  const bool is_ip6 = rule.host.kind == HostPattern::Kind::exact && rule.host.name.contains(':');
  const std::string host = is_ip6 ? fmt::format("[{}]", rule.host.name) : rule.host.text();
  const Reach& reach = rule.reaches.front();
  const auto port = [&](std::uint16_t usual) {
    const std::uint16_t number = reach.port.value_or(usual);
    return number == usual ? std::string() : fmt::format(":{}", number);
  };
  if (rule.raw) return fmt::format("tcp://{}{}", host, port(0));
  if (rule.reaches.size() == 2) {
    const bool is_usual = rule.reaches[0].port == 443 && rule.reaches[1].port == 80;
    return host + (is_usual ? "" : port(0));
  }
  if (!reach.scheme) return host + port(0);
  return fmt::format("{}://{}{}", http::to_string(*reach.scheme), host,
                     port(http::default_port(*reach.scheme)));
}

}  // namespace

std::string text_of(const Rule& rule) {
  std::string text = rule.methods.empty() ? "" : fmt::format("{} ", fmt::join(rule.methods, ","));
  text += place_of(rule);
  if (rule.paths.size() == 1) text += rule.paths.front();
  std::vector<std::string> more;
  if (rule.paths.size() > 1) more.push_back(fmt::format("paths: {}", fmt::join(rule.paths, " ")));
  if (rule.raw) more.emplace_back("bytes are not looked into");
  if (rule.tunnel) more.emplace_back("TLS is not looked into");
  if (rule.secrets) more.push_back(fmt::format("secrets: {}", fmt::join(*rule.secrets, " ")));
  if (rule.request_body) more.push_back(fmt::format("request body {}", *rule.request_body));
  if (rule.response_body) more.push_back(fmt::format("response body {}", *rule.response_body));
  if (rule.rate) more.push_back(to_string(*rule.rate));
  if (rule.concurrent) more.push_back(fmt::format("{} at a time", *rule.concurrent));
  return more.empty() ? text : fmt::format("{} ({})", text, fmt::join(more, "; "));
}

bool Rule::is_whole_host() const {
  const bool every_path = std::ranges::any_of(patterns, [](const PathPattern& pattern) {
    return pattern.rest && pattern.segments.empty();
  });
  return methods.empty() && (paths.empty() || every_path);
}

std::string Rule::key() const {
  std::vector<std::string> parts = methods;
  std::ranges::sort(parts);
  std::vector<std::string> sorted_paths = paths;
  std::ranges::sort(sorted_paths);
  std::string text = host.text() + (tunnel ? " tunnel" : raw ? " tcp" : "");
  for (const Reach& reach : reaches) {
    text += fmt::format(" {}:{}", reach.scheme ? http::to_string(*reach.scheme) : "*",
                        reach.port.value_or(0));
  }
  return fmt::format("{} [{}] [{}]", text, fmt::join(parts, ","), fmt::join(sorted_paths, " "));
}

Result<Rule> read_rule(const Document& document, const Node& item, RuleList list) {
  RuleReader reader(document, list);
  switch (item.kind) {
    case Node::Kind::scalar:
      return reader.short_form(item);
    case Node::Kind::mapping:
      return reader.long_form(item);
    case Node::Kind::null:
    case Node::Kind::sequence:
      break;
  }
  return fail(yaml::error_at(document, item.mark,
                             fmt::format("a rule is a text such as \"GET https://host/path\" or "
                                         "{{host: …}}, found {}",
                                         yaml::describe(item))));
}

}  // namespace pinhole::policy
