// SPDX-License-Identifier: Apache-2.0
// The proxy that programs in the guest know by http_proxy: each connection to 127.0.0.1 is carried,
// byte for byte, to the door. It reads nothing of what passes; the door decides.
#pragma once

#include <cstdint>

#include "agent/endpoint.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// At most so many at a time; further ones wait in the kernel's backlog.
inline constexpr std::size_t kProxyConnections = 512;

/// Listens for ever; a port that cannot be had yet is tried again.
asio::awaitable<void> run_proxy(std::uint16_t port, Endpoint door);

/// Copies both ways until both have ended, or one broke. An end of stream travels as a half-close;
/// a break on either side resets the other where the transport can, so that a cut never looks like
/// an end.
asio::awaitable<void> relay(Stream left, Stream right);

}  // namespace pinhole::agent
