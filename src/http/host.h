// SPDX-License-Identifier: Apache-2.0
// Host names and IP literals in the one form that policy, certificates and audit compare.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/address.h"
#include "http/fault.h"

namespace pinhole::http {

/// A normalised host: a lower-case ASCII name (IDNA A-labels) without trailing dot, or an IP
/// literal in canonical spelling (IPv6 without brackets). Only normalise_host() makes one from
/// text.
struct Host {
  std::string name;
  std::optional<IpAddress> ip;

  /// As it stands in a URL or Host header: IPv6 in brackets.
  [[nodiscard]] std::string in_url() const;
  bool operator==(const Host& other) const { return name == other.name; }
};

/// From a URL, a Host header, a SNI or a policy file. UTF-8 names go through UTS 46
/// (nontransitional), A-labels are checked by a round trip. Refused: everything that getaddrinfo()
/// or inet_aton() would take for an address but is not a dotted quad, zone ids, percent-encodings,
/// user:password@, empty labels, names over 253 or labels over 63 bytes. `_` is allowed in names.
Parsed<Host> normalise_host(std::string_view text);

/// 1 to 65535, decimal, no sign, no leading zero.
std::optional<std::uint16_t> parse_port(std::string_view text);

struct Authority {
  Host host;
  std::optional<std::uint16_t> port;
};
/// host[:port]; an empty port ("host:") and userinfo are refused.
Parsed<Authority> parse_authority(std::string_view text);

}  // namespace pinhole::http
