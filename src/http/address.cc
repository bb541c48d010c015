// SPDX-License-Identifier: Apache-2.0
#include "http/address.h"

#include <arpa/inet.h>

#include <cstring>
#include <span>

#include <fmt/format.h>

#include "base/check.h"
#include "base/strings.h"
#include "http/address_table.h"
#include "http/host.h"

namespace pinhole::http {
namespace {

constexpr std::size_t kLongestAddress = 45;  // of any spelling that inet_pton() takes

std::uint32_t word(const IpAddress& address, std::size_t at) {
  return quad(address.bytes[at], address.bytes[at + 1], address.bytes[at + 2],
              address.bytes[at + 3]);
}

IpAddress v4_of(std::uint32_t value) {
  return IpAddress::v4({static_cast<std::uint8_t>(value >> 24),
                        static_cast<std::uint8_t>(value >> 16),
                        static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)});
}

AddressClass classify_v4(std::uint32_t value) {
  for (const V4Block& block : kV4Blocks) {
    const int rest = 32 - block.length;
    if (((value ^ block.prefix) >> rest) == 0) return {false, std::string(block.name)};
  }
  return {true, "public"};
}

bool within(const IpAddress& address, const V6Block& block) {
  for (int bit = 0; bit < block.length; ++bit) {
    const auto at = static_cast<std::size_t>(bit);
    const int own = (address.bytes[at / 8] >> (7 - bit % 8)) & 1;
    const int wanted = (block.prefix[at / 16] >> (15 - bit % 16)) & 1;
    if (own != wanted) return false;
  }
  return true;
}

std::optional<IpAddress> embedded_v4(const IpAddress& address, Embedded where) {
  switch (where) {
    case Embedded::none:
      return std::nullopt;
    case Embedded::last_32_bits:
      return v4_of(word(address, 12));
    case Embedded::after_6to4_prefix:
      return v4_of(word(address, 2));
    case Embedded::teredo_client:  // RFC 4380 §4: all bits inverted
      return v4_of(~word(address, 12));
  }
  PINHOLE_CHECK(false && "an embedding without its place");
}

AddressClass classify_v6(const IpAddress& address) {
  for (const V6Block& block : kV6Blocks) {
    if (!within(address, block)) continue;
    const auto inner = embedded_v4(address, block.embedded);
    if (!inner) return {false, std::string(block.name)};
    return {false, fmt::format("{} ({} {})", block.name, classify(*inner).name, to_string(*inner))};
  }
  if ((address.bytes[0] & 0xE0) == 0x20) return {true, "public"};
  return {false, "reserved"};
}

}  // namespace

IpAddress IpAddress::v4(std::array<std::uint8_t, 4> bytes) {
  IpAddress address;
  std::memcpy(address.bytes.data(), bytes.data(), bytes.size());
  return address;
}

std::optional<IpAddress> parse_ipv4(std::string_view text) {
  if (text.size() > kLongestAddress) return std::nullopt;
  const auto parts = split(text, '.');
  if (parts.size() != 4) return std::nullopt;
  std::array<std::uint8_t, 4> bytes;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto value = parse_u64(parts[i]);
    const bool leading_zero = parts[i].size() > 1 && parts[i][0] == '0';
    if (!value || *value > 255 || leading_zero) return std::nullopt;
    bytes[i] = static_cast<std::uint8_t>(*value);
  }
  return IpAddress::v4(bytes);
}

std::optional<IpAddress> parse_ipv6(std::string_view text) {
  if (text.size() > kLongestAddress || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  IpAddress address;
  address.is_v6 = true;
  if (inet_pton(AF_INET6, std::string(text).c_str(), address.bytes.data()) != 1)
    return std::nullopt;
  return address;
}

std::optional<IpAddress> parse_ip(std::string_view text) {
  if (auto address = parse_ipv4(text)) return address;
  return parse_ipv6(text);
}

std::string to_string(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN];
  const int family = address.is_v6 ? AF_INET6 : AF_INET;
  PINHOLE_CHECK(inet_ntop(family, address.bytes.data(), text, sizeof text) != nullptr);
  return text;
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = bracketed ? parse_ipv6(host) : parse_ipv4(host);
  if (!port || !address) return std::nullopt;
  return Endpoint{*address, *port};
}

std::string to_string(const Endpoint& endpoint) {
  std::string text = to_string(endpoint.address);
  if (endpoint.address.is_v6) text = "[" + text + "]";
  return text.append(":").append(fmt::format_int(endpoint.port).c_str());
}

AddressClass classify(const IpAddress& address) {
  return address.is_v6 ? classify_v6(address) : classify_v4(word(address, 0));
}

}  // namespace pinhole::http
