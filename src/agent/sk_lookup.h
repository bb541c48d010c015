// SPDX-License-Identifier: Apache-2.0
// Where connections to addresses that are not the guest's own end up: a small eBPF program of type
// SK_LOOKUP (Linux 5.9 and later; Documentation/bpf/prog_sk_lookup.rst) gives those to captured
// ports to one listener of ours and refuses all others. So no port is taken away from the guest's
// own servers, and nothing meant for a far host lands in one of them.
//
//   destination                                  TCP                      UDP
//   127.0.0.0/8, ::1, an address of the guest    as ever                  as ever
//   any other, a captured port                   to our listener          refused
//   any other, any other port                    refused                  refused
//
// What comes from another interface than lo (from a container in the guest) is left alone.
#pragma once

#include <cstdint>
#include <set>
#include <span>

#include "agent/names.h"
#include "base/error.h"
#include "base/fd.h"

namespace pinhole::agent {

class SkLookup {
 public:
  /// More than a welcome has.
  static constexpr std::size_t kPorts = 1024;
  /// Of the guest's own; further ones are treated as foreign.
  static constexpr std::size_t kAddresses = 1024;

  /// For this network namespace, until the end of the object. The listeners are sockets that listen;
  /// -1: none of that family. Needs root and a kernel that has it; an error says which call failed.
  static Result<SkLookup> attach(int listener4, int listener6);

  Result<void> set_ports(std::span<const std::uint16_t> ports);
  /// Besides 127.0.0.0/8; IPv4 addresses as ::ffff:a.b.c.d.
  Result<void> set_own_addresses(std::span<const Address6> addresses);

 private:
  SkLookup() = default;

  Fd sockets_;    // family (0, 1) → listener
  Fd ports_;      // port → 1
  Fd addresses_;  // address → 1
  Fd program_;
  Fd link_;
  std::set<std::uint32_t> known_ports_;
  std::set<Address6> known_addresses_;
};

}  // namespace pinhole::agent
