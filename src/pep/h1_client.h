// SPDX-License-Identifier: Apache-2.0
// An exchange's guest that speaks HTTP/1: reads the body with its framing, writes the answer with
// one that the guest understands.
#pragma once

#include <string>

#include "http/chunked.h"
#include "http/request.h"
#include "pep/client.h"
#include "pep/connection.h"
#include "sys/event.h"

namespace pinhole::pep {

/// Owned by a Session, used for one request after the other.
class H1Client final : public Client {
 public:
  /// Answer bytes that wait for the guest; the origin is held back beyond it.
  static constexpr std::size_t kHighWater = std::size_t{256} << 10;

  H1Client(asio::io_context& context, Connection& guest)
      : context_(context), guest_(guest), changed_(context) {}

  /// Before each exchange. `head` must stay until its end.
  void begin(const http::RequestHead& head);
  /// The connection can carry another request: the answer was whole, and so was the request's body.
  [[nodiscard]] bool keep_alive() const { return keep_alive_ && ended_ && body_.complete(); }

  /// Some of the request's body may have been read.
  [[nodiscard]] bool body_begun() const { return begun_; }

  BodyQueue& body() override { return body_; }
  void start_body() override;
  asio::awaitable<void> stop_body() override;
  void informational(const ResponseHead& head) override;
  void head(const ResponseHead& head) override;
  [[nodiscard]] bool has_room() const override { return out_.size() < kHighWater; }
  void body(std::string_view bytes) override;
  void end(std::span<const http::Header> trailers) override;
  void abort() override;
  [[nodiscard]] bool has_output() const override { return !out_.empty(); }
  asio::awaitable<bool> flush() override;
  [[nodiscard]] bool is_gone() const override { return !guest_.is_open(); }
  void touch() override { guest_.touch(); }
  [[nodiscard]] std::chrono::steady_clock::time_point last_activity() const override {
    return guest_.last_activity();
  }

 private:
  asio::awaitable<void> pump();
  bool take_input();
  bool take_plain();
  bool take_chunked();
  void end_chunks(std::span<const http::Header> trailers);
  void give_buffers_back();

  asio::io_context& context_;
  Connection& guest_;
  sys::Event changed_;  // of the body: room again, or the pump ended
  BodyQueue body_;
  const http::RequestHead* head_ = nullptr;
  std::uint64_t left_ = 0;  // of a body with a length
  http::ChunkedDecoder chunks_;
  bool begun_ = false;
  bool pumping_ = false;
  bool stopped_ = false;

  std::string out_;      // for the guest, growing
  std::string writing_;  // for the guest, being written
  ResponseFraming framing_ = ResponseFraming::none;
  bool keep_alive_ = false;
  bool ended_ = false;
};

}  // namespace pinhole::pep
