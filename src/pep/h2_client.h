// SPDX-License-Identifier: Apache-2.0
// An exchange's guest that speaks HTTP/2: one stream of its connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "http/request.h"
#include "pep/answer.h"
#include "pep/client.h"
#include "sys/event.h"

namespace pinhole::pep {

/// Owned by an H2Session, which calls the functions named connection_…() as nghttp2 reports.
/// Queues what is to be sent with nghttp2 and wakes the connection's writer.
class H2Client final : public Client {
 public:
  using Clock = std::chrono::steady_clock;
  /// Answer bytes that wait for the guest; the origin is held back beyond it.
  static constexpr std::size_t kHighWater = std::size_t{128} << 10;

  /// `wire` and `writer` stay until this is gone.
  H2Client(asio::io_context& context, nghttp2_session* wire, sys::Event& writer, std::int32_t id)
      : wire_(wire), writer_(writer), id_(id), changed_(context) {}

  /// Before the exchange. `head` must stay.
  void begin(const http::RequestHead& head) { head_ = &head; }
  /// An answer of our own, instead of an exchange's.
  void answer(const Answer& answer);
  /// The answer went out to its last byte.
  [[nodiscard]] bool end_sent() const { return end_sent_; }

  BodyQueue& body() override { return body_; }
  void start_body() override;
  asio::awaitable<void> stop_body() override;
  void informational(const ResponseHead& head) override;
  void head(const ResponseHead& head) override;
  [[nodiscard]] bool has_room() const override;
  void body(std::string_view bytes) override;
  void end(std::span<const http::Header> trailers) override;
  void abort() override { reset(NGHTTP2_INTERNAL_ERROR); }
  [[nodiscard]] bool has_output() const override;
  asio::awaitable<bool> flush() override;
  [[nodiscard]] bool is_gone() const override { return gone_; }
  void touch() override { last_activity_ = Clock::now(); }
  [[nodiscard]] Clock::time_point last_activity() const override { return last_activity_; }

  void connection_data(std::string_view bytes);
  void connection_body_end();
  void connection_head_sent();
  void connection_end_sent();
  void connection_closed();
  /// After something was sent: calls on_room where it is due.
  void connection_moved();
  /// The guest broke the rules of this stream.
  void reset(std::uint32_t error);

 private:
  static ssize_t read_body(nghttp2_session* wire, std::int32_t id, std::uint8_t* room,
                           std::size_t size, std::uint32_t* flags, nghttp2_data_source* source,
                           void* session);
  std::size_t take_output(std::uint8_t* room, std::size_t size);
  void finish_output(std::uint32_t* flags);
  void submit_head(int status, std::span<const http::Header> headers, bool has_body);
  void submit_pending_head(bool has_body);
  void let_go(std::size_t count);
  void resume();

  nghttp2_session* wire_;
  sys::Event& writer_;
  std::int32_t id_;
  sys::Event changed_;  // something was sent, or the stream ended
  const http::RequestHead* head_ = nullptr;
  Clock::time_point last_activity_ = Clock::now();

  BodyQueue body_;
  std::string early_;        // came before start_body(); at most the stream's window
  std::size_t held_ = 0;     // came, and the guest was not told that there is room again
  bool body_ended_ = false;  // by the guest
  bool started_ = false;
  bool stopped_ = false;

  /// Waits for the answer's first byte or its end, so that an answer without a body ends with its
  /// head; flush() does not let it wait longer.
  struct PendingHead {
    int status;
    std::vector<http::Header> headers;
  };
  std::optional<PendingHead> pending_head_;
  std::string out_;        // for the guest
  std::size_t taken_ = 0;  // of out_
  std::vector<http::Header> trailers_;
  std::size_t unsent_heads_ = 0;
  mutable bool held_back_ = false;  // has_room() said no
  bool headed_ = false;             // the final head was submitted
  bool ended_ = false;
  bool end_sent_ = false;
  bool closed_ = false;
  bool gone_ = false;  // before the end of the answer
};

}  // namespace pinhole::pep
