// SPDX-License-Identifier: Apache-2.0
// The addresses that are not the public internet.
//
// Sources: IANA IPv4 Special-Purpose Address Registry and IANA IPv6 Special-Purpose Address
// Registry (https://www.iana.org/assignments/iana-ipv4-special-registry,
//  https://www.iana.org/assignments/iana-ipv6-special-registry), both as updated until 2025-10-09;
// IANA IPv4 and IPv6 Multicast Address Space; RFC 4291 for what is deprecated in IPv6.
// More cautious than the registries in two ways: blocks within 192.0.0.0/24 and 2001::/23 that are
// "globally reachable" are refused with the rest, and IPv6 outside of 2000::/3, which is all that
// IANA has given out for global unicast, is refused. Blocks that are plain anycast services on the
// public internet (AS112, AMT: 192.31.196.0/24, 192.52.193.0/24, 192.175.48.0/24,
// 2620:4f:8000::/48) are public. Not in any registry: addresses at which clouds offer their
// instances' credentials.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace pinhole::http {

struct V4Block {
  std::uint32_t prefix;
  int length;
  std::string_view name;
};

constexpr std::uint32_t quad(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  return (a << 24) | (b << 16) | (c << 8) | d;
}

/// The first match counts.
inline constexpr std::array kV4Blocks = {
    V4Block{quad(169, 254, 169, 254), 32, "metadata"},       // AWS, GCP, Azure, OpenStack
    V4Block{quad(169, 254, 170, 2), 32, "metadata"},         // AWS ECS task credentials
    V4Block{quad(100, 100, 100, 200), 32, "metadata"},       // Alibaba Cloud
    V4Block{quad(168, 63, 129, 16), 32, "metadata"},         // Azure's platform channel
    V4Block{quad(192, 0, 0, 192), 32, "metadata"},           // Oracle Cloud
    V4Block{quad(0, 0, 0, 0), 8, "this network"},            // RFC 791
    V4Block{quad(10, 0, 0, 0), 8, "private"},                // RFC 1918
    V4Block{quad(100, 64, 0, 0), 10, "shared (CGNAT)"},      // RFC 6598
    V4Block{quad(127, 0, 0, 0), 8, "loopback"},              // RFC 1122
    V4Block{quad(169, 254, 0, 0), 16, "link-local"},         // RFC 3927
    V4Block{quad(172, 16, 0, 0), 12, "private"},             // RFC 1918
    V4Block{quad(192, 0, 0, 0), 24, "protocol assignment"},  // RFC 6890
    V4Block{quad(192, 0, 2, 0), 24, "documentation"},        // RFC 5737
    V4Block{quad(192, 88, 99, 0), 24, "6to4 relay"},         // RFC 7526, deprecated
    V4Block{quad(192, 168, 0, 0), 16, "private"},            // RFC 1918
    V4Block{quad(198, 18, 0, 0), 15, "benchmarking"},        // RFC 2544; also our made-up answers
    V4Block{quad(198, 51, 100, 0), 24, "documentation"},     // RFC 5737
    V4Block{quad(203, 0, 113, 0), 24, "documentation"},      // RFC 5737
    V4Block{quad(224, 0, 0, 0), 4, "multicast"},             // RFC 5771
    V4Block{quad(255, 255, 255, 255), 32, "broadcast"},      // RFC 8190
    V4Block{quad(240, 0, 0, 0), 4, "reserved"},              // RFC 1112
};

/// Where a block's addresses carry an IPv4 address.
enum class Embedded { none, last_32_bits, after_6to4_prefix, teredo_client };

struct V6Block {
  std::array<std::uint16_t, 8> prefix;
  int length;
  std::string_view name;
  Embedded embedded = Embedded::none;
};

inline constexpr std::array kV6Blocks = {
    V6Block{{0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254}, 128, "metadata"},             // AWS
    V6Block{{0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254}, 128, "metadata"},               // GCP
    V6Block{{0, 0, 0, 0, 0, 0, 0, 0}, 128, "unspecified"},                        // RFC 4291
    V6Block{{0, 0, 0, 0, 0, 0, 0, 1}, 128, "loopback"},                           // RFC 4291
    V6Block{{0, 0, 0, 0, 0, 0xffff}, 96, "IPv4-mapped", Embedded::last_32_bits},  // RFC 4291
    V6Block{
        {0, 0, 0, 0, 0, 0}, 96, "IPv4-compatible", Embedded::last_32_bits},  // RFC 4291, deprecated
    V6Block{{0, 0, 0, 0, 0xffff, 0}, 96, "IPv4-translated", Embedded::last_32_bits},  // RFC 7915
    V6Block{{0x64, 0xff9b, 0, 0, 0, 0}, 96, "NAT64", Embedded::last_32_bits},         // RFC 6052
    V6Block{{0x64, 0xff9b, 1}, 48, "NAT64 (local use)", Embedded::last_32_bits},      // RFC 8215
    V6Block{{0x100, 0, 0, 0}, 64, "discard-only"},                                    // RFC 6666
    V6Block{{0x100, 0, 0, 1}, 64, "dummy"},                                           // RFC 9780
    V6Block{{0x2001, 0}, 32, "Teredo", Embedded::teredo_client},                      // RFC 4380
    V6Block{{0x2001, 0xdb8}, 32, "documentation"},                                    // RFC 3849
    V6Block{{0x2001, 2, 0}, 48, "benchmarking"},                                      // RFC 5180
    V6Block{{0x2001, 0}, 23, "protocol assignment"},                                  // RFC 2928
    V6Block{{0x2002}, 16, "6to4", Embedded::after_6to4_prefix},                       // RFC 3056
    V6Block{{0x3fff, 0}, 20, "documentation"},                                        // RFC 9637
    V6Block{{0x5f00}, 16, "segment routing"},                                         // RFC 9602
    V6Block{{0xfc00}, 7, "unique local"},                                             // RFC 4193
    V6Block{{0xfe80}, 10, "link-local"},                                              // RFC 4291
    V6Block{{0xfec0}, 10, "site-local"},  // RFC 3879, deprecated
    V6Block{{0xff00}, 8, "multicast"},    // RFC 4291
};

}  // namespace pinhole::http
