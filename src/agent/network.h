// SPDX-License-Identifier: Apache-2.0
// The guest's only interface: lo, up, with addresses that make programs believe in IPv4 and IPv6.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace pinhole::agent {

/// Besides 127.0.0.1 and ::1. With nothing else on lo, getaddrinfo() with AI_ADDRCONFIG finds no
/// name at all. 198.18.0.0/15 is for benchmarking (RFC 2544), fd00::/8 is locally assigned (RFC
/// 4193).
inline constexpr const char* kLoopbackAddress4 = "198.18.0.1";
inline constexpr const char* kLoopbackAddress6 = "fd50:696e:686f:6c65::1";

/// By rtnetlink(7); needs root. An address that is already there is fine; a kernel without IPv6
/// too.
Result<void> set_up_loopback();

struct InterfaceList {
  std::vector<std::string> names;
  std::string text;  // "lo 127.0.0.1 198.18.0.1 ::1"
};
/// Every interface of this network namespace.
InterfaceList list_interfaces();

}  // namespace pinhole::agent
