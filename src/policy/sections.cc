// SPDX-License-Identifier: Apache-2.0
#include "policy/sections.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/printable.h"
#include "base/strings.h"
#include "http/header.h"

namespace pinhole::policy {
namespace {

using yaml::Document;
using yaml::MappingReader;
using yaml::Mark;
using yaml::Node;

constexpr std::size_t kMostHosts = 1000;  // lines of `internal:`, and of `ca:`
constexpr std::size_t kMostSecrets = 100;
constexpr std::size_t kMostSecretHosts = 100;
constexpr std::size_t kLongestName = 64;
constexpr std::size_t kLongestSource = 4096;
constexpr std::size_t kLongestPlaceholder = 32;
constexpr std::size_t kMostServers = 8;
constexpr std::uint16_t kDnsPort = 53;

/// Headers that say where a message goes and where it ends; a secret has no place there.
constexpr std::array<std::string_view, 13> kNoSecretHeaders = {
    "accept-encoding",  "connection", "content-encoding",
    "content-length",   "expect",     "host",
    "keep-alive",       "range",      "te",
    "trailer",          "upgrade",    "if-range",
    "transfer-encoding"};

std::unexpected<Error> error(const Document& document, Mark mark, std::string_view message,
                             std::string_view suggestion = {}) {
  return fail(yaml::error_at(document, mark, message, suggestion));
}

bool is_word(std::string_view text, std::string_view more) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.contains(c);
  });
}

Result<Internal> read_internal_line(const Document& document, const Node& item) {
  PINHOLE_TRY(const std::string text, yaml::read_string(document, item, "an item of \"internal\""));
  constexpr std::string_view kForm = "\"internal\" expects \"name:port -> address:port\", found {}";
  const std::size_t arrow = text.find("->");
  if (arrow == std::string::npos) {
    return error(document, item.mark, fmt::format(kForm, yaml::describe(item)));
  }
  const auto name = http::parse_authority(trim(std::string_view(text).substr(0, arrow)));
  if (!name) return error(document, item.mark, name.error().detail);
  const auto address = http::parse_endpoint(trim(std::string_view(text).substr(arrow + 2)));
  const std::optional<std::uint16_t> port = name->port;
  if (!port || !address) {
    return error(document, item.mark, fmt::format(kForm, yaml::describe(item)));
  }
  return Internal{.host = name->host, .port = *port, .address = *address};
}

/// Only the kind of source is looked at here; whoever reads it says whether it is there.
Result<void> check_source(const Document& document, const Node& node) {
  const std::string_view text = node.text;
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string_view rest = colon == std::string_view::npos ? "" : trim(text.substr(colon + 1));
  const bool fits = (kind == "env" && is_secret_name(rest)) ||
                    (kind == "file" && rest.starts_with('/')) || (kind == "cmd" && !rest.empty());
  const bool clean =
      std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  if (fits && clean && text.size() <= kLongestSource) return {};
  return error(document, node.mark,
               "\"from\" expects env:NAME, file:/full/path or cmd:COMMAND, never the value itself");
}

class SecretReader {
 public:
  SecretReader(const Document& document, const Node& node) : document_(document), node_(node) {}

  Result<SecretSpec> read() {
    if (!is_secret_name(node_.key)) {
      return error(document_, node_.key_mark,
                   fmt::format("\"{}\" is not the name of a secret: letters, digits and \"_\", at "
                               "most {}, as for a variable",
                               printable(node_.key, 80), kLongestName));
    }
    secret_.name = node_.key;
    MappingReader r(document_, node_, "a secret");
    secret_.from = r.required_string("from");
    const auto hosts = r.list("hosts");
    const auto header = r.optional_string("header");
    const auto placeholder = r.optional_string("placeholder");
    const auto places = r.string_list("in");
    PINHOLE_TRY_VOID(r.finish());
    PINHOLE_TRY_VOID(check_source(document_, *node_.find("from")));
    PINHOLE_TRY_VOID(read_hosts(hosts));
    if (header) PINHOLE_TRY_VOID(read_header(*header));
    if (placeholder) PINHOLE_TRY_VOID(read_placeholder(*placeholder));
    PINHOLE_TRY_VOID(read_places(places));
    return std::move(secret_);
  }

 private:
  Result<void> read_hosts(std::span<const Node> items) {
    if (items.empty()) {
      return error(document_, node_.mark, "a secret needs \"hosts\": where it may go");
    }
    if (items.size() > kMostSecretHosts) {
      return error(document_, node_.mark, fmt::format("more than {} hosts", kMostSecretHosts));
    }
    for (const Node& item : items) {
      PINHOLE_TRY(const std::string text, yaml::read_string(document_, item, "a host"));
      auto read = parse_host_pattern(text);
      if (!read) return error(document_, item.mark, read.error().message, read.error().suggestion);
      if (read->port) {
        return error(document_, item.mark,
                     "a secret's hosts are names without a port; a rule says which port is open");
      }
      if (read->host.kind == HostPattern::Kind::any) {
        return error(document_, item.mark, "a secret for every host is no secret; name the hosts");
      }
      secret_.hosts.push_back(std::move(read->host));
    }
    return {};
  }

  Result<void> read_header(const std::string& text) {
    const Mark mark = node_.find("header")->mark;
    const std::string name = to_lower(text);
    if (!http::is_token(name)) {
      return error(document_, mark,
                   fmt::format("\"{}\" is not the name of a header", printable(text, 40)));
    }
    if (std::ranges::find(kNoSecretHeaders, name) != kNoSecretHeaders.end() ||
        name.starts_with("proxy-")) {
      return error(document_, mark, fmt::format("no secret can go into the header \"{}\"", name));
    }
    secret_.header = name;
    return {};
  }

  Result<void> read_placeholder(const std::string& text) {
    if (!is_word(text, "_-") || text.size() > kLongestPlaceholder) {
      return error(
          document_, node_.find("placeholder")->mark,
          fmt::format("\"placeholder\" expects at most {} letters, digits, \"_\" and \"-\"",
                      kLongestPlaceholder));
    }
    secret_.placeholder = text;
    return {};
  }

  Result<void> read_places(const std::vector<std::string>& places) {
    for (std::size_t i = 0; i < places.size(); ++i) {
      bool* const place = places[i] == "query"  ? &secret_.in_query
                          : places[i] == "body" ? &secret_.in_body
                                                : nullptr;
      const Mark mark = node_.find("in")->items[i].mark;
      if (place == nullptr) {
        return error(
            document_, mark,
            fmt::format("\"in\" knows query and body, found \"{}\"", printable(places[i], 40)));
      }
      if (*place) {
        return error(document_, mark, fmt::format("\"{}\" is given twice", places[i]));
      }
      *place = true;
    }
    return {};
  }

  const Document& document_;
  const Node& node_;
  SecretSpec secret_;
};

Result<http::Endpoint> read_server(const Document& document, const Node& node) {
  PINHOLE_TRY(const std::string text, yaml::read_string(document, node, "\"resolver\""));
  if (const auto endpoint = http::parse_endpoint(text)) return *endpoint;
  if (const auto address = http::parse_ip(text)) {
    return http::Endpoint{.address = *address, .port = kDnsPort};
  }
  return error(document, node.mark,
               fmt::format("\"resolver\" expects the address of a name server, such as 9.9.9.9 or "
                           "[2620:fe::fe]:53, found {}",
                           yaml::describe(node)));
}

}  // namespace

bool SecretSpec::may_go_to(const http::Host& host) const {
  return std::ranges::any_of(hosts,
                             [&](const HostPattern& pattern) { return pattern.matches(host); });
}

bool is_secret_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName && is_word(text, "_") &&
         !(text.front() >= '0' && text.front() <= '9');
}

std::optional<Rate> read_rate(const Document& document, MappingReader& reader) {
  const Node* node = reader.optional_node("rate");
  if (node == nullptr) return std::nullopt;
  const auto rate =
      node->kind == Node::Kind::scalar ? parse_rate(node->text) : std::optional<Rate>();
  if (!rate) {
    reader.report(node->mark, yaml::error_at(document, node->mark,
                                             fmt::format("\"rate\" expects a rate such as 10/s, "
                                                         "120/min, 1000/h or 5000/day, found {}",
                                                         yaml::describe(*node))));
  }
  return rate;
}

Result<std::vector<Internal>> read_internal(const Document& document, std::span<const Node> items) {
  std::vector<Internal> lines;
  for (const Node& item : items) {
    PINHOLE_TRY(Internal line, read_internal_line(document, item));
    for (const Internal& other : lines) {
      if (other.host != line.host || other.port != line.port) continue;
      return error(document, item.mark,
                   fmt::format("{}:{} is given twice", line.host.in_url(), line.port));
    }
    if (lines.size() >= kMostHosts) {
      return error(document, item.mark, fmt::format("more than {} internal hosts", kMostHosts));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

Result<std::vector<HostCa>> read_ca(const Document& document, const Node& node) {
  std::vector<HostCa> lines;
  for (const Node& value : node.items) {
    const auto host = http::normalise_host(value.key);
    if (!host) return error(document, value.key_mark, host.error().detail);
    PINHOLE_TRY(const std::string file, yaml::read_string(document, value, "\"ca\""));
    if (!file.starts_with('/') || file.contains('\n')) {
      return error(document, value.mark,
                   fmt::format("\"ca\" expects the full path of a PEM file, found {}",
                               yaml::describe(value)));
    }
    for (const HostCa& other : lines) {
      if (other.host != *host) continue;
      return error(document, value.key_mark, fmt::format("{} is given twice", host->in_url()));
    }
    if (lines.size() >= kMostHosts) {
      return error(document, value.key_mark, fmt::format("more than {} hosts", kMostHosts));
    }
    lines.push_back({*host, file});
  }
  return lines;
}

Result<GivenLimits> read_limits(const Document& document, const Node& node) {
  GivenLimits limits;
  MappingReader r(document, node, "\"limits\"");
  limits.connections = r.optional_u64("connections", {1, 65536});
  limits.request_body = r.optional_size("request_body");
  limits.response_body = r.optional_size("response_body");
  limits.header_bytes = r.optional_size("header_bytes", {1 << 10, 1 << 20});
  limits.idle = r.optional_duration("idle");
  if (limits.idle && limits.idle->count() < 1000) {
    r.report(node.find("idle")->mark, "\"idle\" is less than a second");
  }
  limits.rate = read_rate(document, r);
  limits.concurrent = r.optional_u64("concurrent", {1, kMostConcurrent});
  PINHOLE_TRY_VOID(r.finish());
  return limits;
}

Result<GivenAudit> read_audit(const Document& document, const Node& node) {
  GivenAudit audit;
  MappingReader r(document, node, "\"audit\"");
  const auto bodies = r.optional_choice("bodies", {"size", "digest"});
  const auto sync = r.optional_choice("sync", {"off", "batch", "each"});
  const auto redact = r.string_list("redact");
  PINHOLE_TRY_VOID(r.finish());
  if (bodies == "digest") audit.settings.bodies = AuditSettings::Bodies::digest;
  if (sync == "batch") audit.settings.sync = AuditSettings::Sync::batch;
  if (sync == "each") audit.settings.sync = AuditSettings::Sync::each;
  for (const std::string& name : redact) {
    if (!http::is_token(name)) {
      return error(document, node.find("redact")->mark,
                   fmt::format("\"{}\" is not the name of a header", printable(name, 40)));
    }
    audit.redact.push_back(to_lower(name));
  }
  return audit;
}

Result<std::vector<SecretSpec>> read_secrets(const Document& document, const Node& node) {
  std::vector<SecretSpec> secrets;
  for (const Node& value : node.items) {
    if (secrets.size() >= kMostSecrets) {
      return error(document, value.key_mark, fmt::format("more than {} secrets", kMostSecrets));
    }
    PINHOLE_TRY(SecretSpec secret, SecretReader(document, value).read());
    secrets.push_back(std::move(secret));
  }
  return secrets;
}

Result<std::vector<http::Endpoint>> read_resolver(const Document& document, const Node& node) {
  std::vector<http::Endpoint> servers;
  const bool is_list = node.kind == Node::Kind::sequence;
  if (is_list && (node.items.empty() || node.items.size() > kMostServers)) {
    return error(document, node.mark,
                 fmt::format("\"resolver\" expects 1 to {} name servers", kMostServers));
  }
  for (const Node& item : is_list ? std::span<const Node>(node.items) : std::span(&node, 1)) {
    PINHOLE_TRY(const http::Endpoint server, read_server(document, item));
    servers.push_back(server);
  }
  return servers;
}

Result<UpstreamProxy> read_upstream_proxy(const Document& document, const Node& node) {
  PINHOLE_TRY(const std::string text, yaml::read_string(document, node, "\"upstream_proxy\""));
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) {
    return error(
        document, node.mark,
        fmt::format("\"upstream_proxy\" expects http://host:port, found {}", yaml::describe(node)));
  }
  std::string_view authority = std::string_view(text).substr(kScheme.size());
  if (authority.ends_with('/')) authority.remove_suffix(1);
  auto read = http::parse_authority(authority);
  if (!read) return error(document, node.mark, read.error().detail);
  const std::optional<std::uint16_t> port = read->port;
  if (!port) {
    return error(document, node.mark, "\"upstream_proxy\" needs a port: http://host:port");
  }
  return UpstreamProxy{.host = std::move(read->host), .port = *port};
}

}  // namespace pinhole::policy
