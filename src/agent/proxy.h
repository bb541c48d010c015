// SPDX-License-Identifier: Apache-2.0
// The proxy that programs in the guest know by http_proxy: each connection to 127.0.0.1 is carried,
// byte for byte, to the door. It reads nothing of what passes; the door decides.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "agent/endpoint.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// At most so many at a time; further ones wait in the kernel's backlog.
inline constexpr std::size_t kProxyConnections = 512;

/// How many connections may be under way; shared by all that accept them.
struct Places {
  Places(const asio::any_io_executor& executor, std::size_t most)
      : free(static_cast<std::ptrdiff_t>(most)),
        freed(executor, asio::steady_timer::time_point::max()) {}
  std::ptrdiff_t free;       // below zero for a moment where several acceptors saw the last one
  asio::steady_timer freed;  // cancelled when a connection has ended
};
using ServeStream = std::function<asio::awaitable<void>(Stream)>;
/// Accepts while there is a place, until the acceptor is closed.
asio::awaitable<void> accept_each(std::shared_ptr<Acceptor> acceptor,
                                  std::shared_ptr<Places> places, ServeStream serve);

/// Closes so that a TCP peer sees a reset, not an end that could pass for the answer's.
void reset_stream(Stream& stream);

/// Listens for ever; a port that cannot be had yet is tried again.
asio::awaitable<void> run_proxy(std::uint16_t port, Endpoint door);

/// Copies both ways until both have ended, or one broke. An end of stream travels as a half-close;
/// a break on either side resets the other where the transport can, so that a cut never looks like
/// an end.
asio::awaitable<void> relay(Stream left, Stream right);

}  // namespace pinhole::agent
