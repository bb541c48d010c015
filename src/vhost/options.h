// SPDX-License-Identifier: Apache-2.0
// The command line of pinhole-vsockd.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "vhost/host_sockets.h"

namespace pinhole::vhost {

/// Ports that one device serves.
inline constexpr std::size_t kMaxPorts = 64;

struct Options {
  /// Where QEMU connects: a path to listen on, or an inherited descriptor (listening or connected).
  std::filesystem::path socket;
  std::optional<int> socket_fd;
  /// Or a descriptor that is connected to QEMU already (one end of a socketpair): when QEMU closes
  /// it, the program ends.
  std::optional<int> vhost_fd;
  /// `<base>`: where host programs connect to reach the guest, and the stem of the ports' paths.
  std::filesystem::path base;
  std::optional<int> base_fd;  // `<base>`, inherited and listening
  /// Connected to the supervisor, which asks for statistics there; its end ends the program.
  std::optional<int> control_fd;
  PortPaths ports;
  std::uint64_t cid = 3;
  bool once = false;  // end when QEMU disconnects
  bool help = false;
};

Result<Options> parse_options(std::span<const std::string_view> args);
std::string_view usage();

}  // namespace pinhole::vhost
