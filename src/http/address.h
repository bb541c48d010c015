// SPDX-License-Identifier: Apache-2.0
// IP addresses as values, and which of them are the public internet.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinhole::http {

/// Network byte order; an IPv4 address fills the first four bytes.
struct IpAddress {
  bool is_v6 = false;
  std::array<std::uint8_t, 16> bytes = {};

  static IpAddress v4(std::array<std::uint8_t, 4> bytes);
  static IpAddress v6(std::array<std::uint8_t, 16> bytes) { return {true, bytes}; }
  bool operator==(const IpAddress&) const = default;
};

/// Dotted quad of four decimal numbers without leading zeros; nothing that inet_aton() also takes
/// (127.1, 0x7f.0.0.1, 017700000001, 2130706433).
std::optional<IpAddress> parse_ipv4(std::string_view text);
/// Without brackets; no zone id.
std::optional<IpAddress> parse_ipv6(std::string_view text);
/// Either; IPv6 without brackets.
std::optional<IpAddress> parse_ip(std::string_view text);
/// 192.0.2.1 or the canonical form of RFC 5952 without brackets.
std::string to_string(const IpAddress& address);

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;
  bool operator==(const Endpoint&) const = default;
};
/// 192.0.2.1:80 or [2001:db8::1]:80; the port is needed.
std::optional<Endpoint> parse_endpoint(std::string_view text);
std::string to_string(const Endpoint& endpoint);

/// `name` is "public", or the special class: "loopback", "private", "link-local", "metadata",
/// "IPv4-mapped (loopback)" and so on.
struct AddressClass {
  bool is_public = false;
  std::string name;
};
/// By the IANA special-purpose registries (address_table.h). An address that carries an IPv4
/// address (mapped, compatible, NAT64, 6to4, Teredo) is never public; the name tells what is
/// inside.
AddressClass classify(const IpAddress& address);

}  // namespace pinhole::http
