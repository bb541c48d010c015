// SPDX-License-Identifier: Apache-2.0
// One end of a byte stream, the guest's or an origin's: a socket, TLS over it once that was started,
// the bytes read ahead of their use, and when something last moved.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <boost/asio/generic/stream_protocol.hpp>

#include "sys/asio.h"
#include "tls/stream.h"

namespace pinhole::pep {

/// Owned by one session or relay. At most one read and one write at a time. After close() every
/// wait returns false.
class Connection {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  using Clock = std::chrono::steady_clock;
  /// One read takes at most this; read-ahead is bounded by it and by who consumes.
  static constexpr std::size_t kReadSize = std::size_t{32} << 10;

  explicit Connection(Socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// What was read and not consumed yet; decrypted, once TLS runs.
  [[nodiscard]] std::string_view input() const {
    return std::string_view(buffer_).substr(used_, filled_ - used_);
  }
  void consume(std::size_t count);
  /// Adds to input(); false at the end of the stream or when the connection is gone.
  asio::awaitable<bool> read_more();
  /// False when the peer is gone. `bytes` must stay.
  asio::awaitable<bool> write(std::string_view bytes);

  /// What a TLS stream of this connection has to be made over. What input() holds now is what TLS
  /// reads first.
  tls::Transport& transport();
  /// Runs the handshake and from then on everything through `stream`; false when it failed, for the
  /// reason that tls_error() tells.
  asio::awaitable<bool> start_tls(tls::Stream stream);
  [[nodiscard]] bool is_tls() const { return tls_ != nullptr; }
  /// The protocol that the handshake agreed on; empty without one.
  [[nodiscard]] std::string alpn() const;
  [[nodiscard]] std::string tls_error() const;
  /// The stream ended without TLS's own end: what came last may be cut.
  [[nodiscard]] bool truncated() const;
  /// read_more() was false because the peer ended its stream, and nothing is missing of it.
  [[nodiscard]] bool at_end() const { return ended_ && !truncated(); }

  /// The peer will see an end of stream; reading goes on.
  void shutdown_send();
  /// Pending reads and writes return false; the connection stays.
  void cancel_waits();
  void close();
  /// Closes so that the peer sees a broken connection and not an end, where its kind of socket can
  /// tell (TCP).
  void reset();
  [[nodiscard]] bool is_open() const { return socket_.is_open(); }
  /// Gives the memory of an idle connection back; the next read_more() takes it again when there is
  /// something to read.
  void release_buffer();

  /// When a byte last moved, or touch() was called.
  [[nodiscard]] Clock::time_point last_activity() const { return last_activity_; }
  void touch() { last_activity_ = Clock::now(); }
  Socket& socket() { return socket_; }

 private:
  class SocketTransport;
  void make_room();
  asio::awaitable<bool> read_plain();
  asio::awaitable<bool> read_tls();
  asio::awaitable<bool> wait_for(tls::Status status);

  Socket socket_;
  std::string buffer_;  // its size is room; what was read is [used_, filled_)
  std::size_t used_ = 0;
  std::size_t filled_ = 0;
  std::unique_ptr<SocketTransport> transport_;
  std::unique_ptr<tls::Stream> tls_;
  bool ended_ = false;
  Clock::time_point last_activity_ = Clock::now();
};

}  // namespace pinhole::pep
