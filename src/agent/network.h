// SPDX-License-Identifier: Apache-2.0
// The guest's only interface: lo, up, with addresses that make programs believe in IPv4 and IPv6.
#pragma once

#include <string>
#include <vector>

#include "agent/names.h"
#include "base/error.h"
#include "base/fd.h"

namespace pinhole::agent {

/// Besides 127.0.0.1 and ::1. With nothing else on lo, getaddrinfo() with AI_ADDRCONFIG finds no
/// name at all. 198.18.0.0/15 is for benchmarking (RFC 2544), fd00::/8 is locally assigned (RFC
/// 4193).
inline constexpr const char* kLoopbackAddress4 = "198.18.0.1";
inline constexpr const char* kLoopbackAddress6 = "fd50:696e:686f:6c65::1";

/// By rtnetlink(7); needs root. An address that is already there is fine; a kernel without IPv6
/// too.
Result<void> set_up_loopback();

/// Routes that make every address that no other interface has the guest's own, so that a connection
/// to anywhere can be answered here, or refused at once. After set_up_loopback().
Result<void> make_every_address_local();

/// Those of all interfaces; IPv4 as ::ffff:a.b.c.d.
std::vector<Address6> own_addresses();
/// Becomes readable when they change (rtnetlink messages, worth reading only to be rid of them).
Result<Fd> watch_addresses();

struct InterfaceList {
  std::vector<std::string> names;
  std::string text;  // "lo 127.0.0.1 198.18.0.1 ::1"
};
/// Every interface of this network namespace.
InterfaceList list_interfaces();

}  // namespace pinhole::agent
