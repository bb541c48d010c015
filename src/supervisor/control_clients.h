// SPDX-License-Identifier: Apache-2.0
// Who may talk to a supervisor over its control socket (supervisor/control.h), and how much of it they take up.
#pragma once

#include <cstdint>
#include <functional>

#include <boost/json/object.hpp>

#include "sys/asio.h"

namespace pinhole::supervisor {

/// More are hung up on at once. Half-open or slow ones are gone after kRequestDeadline.
inline constexpr std::size_t kMostControlClients = 144;
/// Of those, streams to the guest's agent, which may last: there is always room to ask and to stop.
inline constexpr std::size_t kMostAgentStreams = 128;
inline constexpr std::size_t kLongestRequest = 16 << 10;
inline constexpr std::chrono::seconds kRequestDeadline{10};

using ControlSocket = asio::local::stream_protocol::socket;
/// Serves one client, whose request is a JSON object already; the connection is over when it returns.
using ServeClient = std::function<asio::awaitable<void>(ControlSocket, boost::json::object)>;

struct ControlRules {
  std::uint32_t owner = 0;  // the only uid that is served
  std::size_t most = kMostControlClients;
  std::chrono::milliseconds deadline =
      kRequestDeadline;  // for a request to be complete, and for an answer to be taken
};

/// Takes clients until the acceptor is closed. None of them can hold up another.
asio::awaitable<void> accept_clients(asio::local::stream_protocol::acceptor* acceptor,
                                     ControlRules rules, ServeClient serve);

/// An answer line. A client that does not take it in time has no answer; false then.
asio::awaitable<bool> send_answer(ControlSocket* socket, boost::json::object answer,
                                  std::chrono::milliseconds deadline = kRequestDeadline);

/// One line of at most `limit` bytes, without its newline; nothing at the end of the stream. What follows the line stays
/// unread: the next bytes may belong to a stream.
asio::awaitable<std::optional<std::string>> read_line(ControlSocket* socket, std::size_t limit);

}  // namespace pinhole::supervisor
