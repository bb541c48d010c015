// SPDX-License-Identifier: Apache-2.0
// A guest's connection that speaks HTTP/2 (RFC 9113): many requests at once, each served as those of
// HTTP/1 are. nghttp2 does frames, HPACK and flow control; what makes a request well-formed is
// http/h2_request.h's, so that both versions refuse alike.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "http/request.h"
#include "pep/connection.h"
#include "pep/door.h"
#include "pep/exchange.h"
#include "pep/h2_client.h"
#include "pep/serve.h"
#include "sys/event.h"

namespace pinhole::pep {

/// One per connection, once it is known to speak HTTP/2 (ALPN "h2", or a proxy client that begins
/// with the preface, which must still be in the connection's input()).
class H2Session {
 public:
  using Clock = std::chrono::steady_clock;

  /// `inside`: the tunnel's target; without it this is the proxy itself. `door` and `guest` stay
  /// until run() has returned.
  H2Session(Door& door, Connection& guest, std::optional<Inside> inside);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  /// Returns when the connection is closed and nothing of its streams runs any more.
  asio::awaitable<void> run();
  /// Called every Times::tick.
  void check_deadline(Clock::time_point now);
  /// No new streams; the connection ends when those that run are done.
  void finish_soon();
  void close();
  /// A request came, well-formed or not.
  [[nodiscard]] bool asked() const { return asked_ || refused_; }
  /// No stream: may be closed without loss.
  [[nodiscard]] bool is_idle() const { return streams_.empty() && guest_.input().empty(); }

 private:
  struct Stream;
  struct Callbacks;
  /// Fills evenly up to `most`.
  struct Bucket {
    double most;
    double per_second;
    double tokens = most;
    Clock::time_point at = Clock::now();
    bool take();
  };
  struct Free {
    void operator()(nghttp2_session* wire) const { nghttp2_session_del(wire); }
  };

  void start();
  asio::awaitable<bool> read_all();
  asio::awaitable<void> write_all();
  bool fill_batch();
  void begin_stream(std::int32_t id);
  void add_field(std::int32_t id, std::string_view name, std::string_view value);
  void frame_came(const nghttp2_frame& frame);
  void headers_came(const nghttp2_frame& frame);
  void frame_sent(const nghttp2_frame& frame, bool sent);
  void stream_closed(std::int32_t id);
  void start_stream(Stream& stream, bool end_stream);
  static asio::awaitable<void> serve_stream(H2Session* self, Stream* stream);
  void stream_done(std::int32_t id);
  void refuse_connection(std::uint32_t error, std::string_view why);
  Stream* find(std::int32_t id);
  void erase(std::int32_t id);

  Door& door_;
  Connection& guest_;
  std::optional<Inside> inside_;
  sys::Event writer_;  // there may be something to write
  sys::Event quiet_;   // the writer or a stream's coroutine ended
  // Before the streams: they use it to their end.
  std::unique_ptr<nghttp2_session, Free> wire_;
  std::map<std::int32_t, std::unique_ptr<Stream>> streams_;
  Bucket resets_;
  Bucket noise_;
  std::string batch_;        // being written
  std::size_t running_ = 0;  // streams' coroutines
  bool writing_ = false;     // write_all() runs
  bool sending_ = false;     // batch_ is on its way
  bool refused_ = false;
  bool asked_ = false;
  bool finishing_ = false;
  bool closed_ = false;
  std::optional<Clock::time_point> head_started_;  // one header block comes at a time
  Clock::time_point idle_since_ = Clock::now();
};

}  // namespace pinhole::pep
