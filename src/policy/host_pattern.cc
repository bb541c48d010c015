// SPDX-License-Identifier: Apache-2.0
#include "policy/host_pattern.h"

#include <utility>

namespace pinhole::policy {

std::string HostPattern::text() const {
  switch (kind) {
    case Kind::exact:
      return name;
    case Kind::below:
      return "*." + name;
    case Kind::any:
      return "*";
  }
  return {};
}

bool HostPattern::matches(const http::Host& host) const {
  switch (kind) {
    case Kind::exact:
      return host.name == name;
    case Kind::below:
      return !host.ip && host.name.size() > name.size() + 1 && host.name.ends_with(name) &&
             host.name[host.name.size() - name.size() - 1] == '.';
    case Kind::any:
      return true;
  }
  return false;
}

std::expected<PatternAndPort, PatternFault> parse_host_pattern(std::string_view text) {
  const bool any = text == "*" || text.starts_with("*:");
  const bool below = text.starts_with("*.");
  const std::size_t start = below ? 2 : 0;
  const std::string_view name = text.substr(start);
  if (name.substr(any ? 1 : 0).contains('*')) {
    const bool forgot_dot = text.starts_with('*') && !text.substr(1).contains('*');
    return std::unexpected(
        PatternFault{.message = "a \"*\" in a host stands for whole leading labels",
                     .suggestion = forgot_dot ? "*." + std::string(text.substr(1)) : ""});
  }
  // "*" itself is no host name: a stand-in lets the port be read in the one way there is.
  const std::string plain = any ? "any.invalid" + std::string(text.substr(1)) : std::string(name);
  auto authority = http::parse_authority(plain);
  if (!authority) {
    return std::unexpected(
        PatternFault{.offset = start, .message = std::move(authority.error().detail)});
  }
  if (below && authority->host.ip) {
    return std::unexpected(
        PatternFault{.offset = start, .message = "\"*.\" does not go with an IP address"});
  }
  PatternAndPort read{.host = {}, .port = authority->port};
  read.host.kind = any     ? HostPattern::Kind::any
                   : below ? HostPattern::Kind::below
                           : HostPattern::Kind::exact;
  if (!any) read.host.name = std::move(authority->host.name);
  return read;
}

}  // namespace pinhole::policy
