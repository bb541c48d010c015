// SPDX-License-Identifier: Apache-2.0
// Accepts the guest's connections, keeps their number and their time in bounds, and ends them in
// order.
#pragma once

#include <filesystem>
#include <memory>
#include <set>

#include "base/fd.h"
#include "pep/door.h"
#include "pep/session.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::pep {

/// One per process. start(), then run the io_context; stop() ends what runs. The Door must outlive
/// it.
class Server {
 public:
  /// `listener` is a listening stream socket of whatever family, non-blocking.
  Server(Door& door, Fd listener);

  void start();
  /// No new connections; running exchanges get Times::grace, then they are cut. Returns when none
  /// is left.
  asio::awaitable<void> stop();
  [[nodiscard]] std::size_t sessions() const { return sessions_.size(); }

 private:
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> tick_loop();
  void start_session(Connection::Socket socket);
  /// Makes room by closing the connection that has been idle for longest.
  void close_idle_one();

  Door& door_;
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor_;
  asio::steady_timer tick_;
  sys::Event room_;  // there may be room for another session
  std::set<std::shared_ptr<Session>> sessions_;
  bool stopping_ = false;
};

}  // namespace pinhole::pep
