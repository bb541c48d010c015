// SPDX-License-Identifier: Apache-2.0
// The guest's end of one connection: a unix socket, the bytes read ahead of their use, and when
// something last moved.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "sys/asio.h"

namespace pinhole::pep {

/// Owned by a Session. After close() every wait returns false.
class Guest {
 public:
  /// One read takes at most this; read-ahead is bounded by it and by who consumes.
  static constexpr std::size_t kReadSize = std::size_t{32} << 10;
  using Clock = std::chrono::steady_clock;

  explicit Guest(asio::local::stream_protocol::socket socket) : socket_(std::move(socket)) {}

  /// What was read and not consumed yet.
  [[nodiscard]] std::string_view input() const {
    return std::string_view(buffer_).substr(used_, filled_ - used_);
  }
  void consume(std::size_t count);
  /// Adds to input(); false at the end of the stream or when the connection is gone.
  asio::awaitable<bool> read_more();
  /// False when the guest is gone. `bytes` must stay.
  asio::awaitable<bool> write(std::string_view bytes);

  /// The guest will see an end of stream; reading goes on.
  void shutdown_send();
  /// Pending reads and writes return false; the connection stays.
  void cancel_waits();
  void close();
  [[nodiscard]] bool is_open() const { return socket_.is_open(); }

  /// When a byte last moved, or touch() was called.
  [[nodiscard]] Clock::time_point last_activity() const { return last_activity_; }
  void touch() { last_activity_ = Clock::now(); }
  asio::local::stream_protocol::socket& socket() { return socket_; }

 private:
  asio::local::stream_protocol::socket socket_;
  std::string buffer_;  // its size is room; what was read is [used_, filled_)
  std::size_t used_ = 0;
  std::size_t filled_ = 0;
  Clock::time_point last_activity_ = Clock::now();
};

}  // namespace pinhole::pep
