// SPDX-License-Identifier: Apache-2.0
#include "pep/h2_client.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace pinhole::pep {
namespace {

/// RFC 9113 §8.2: names in lower case, and nothing about the connection.
std::vector<http::Header> fields_for_h2(int status, std::span<const http::Header> headers) {
  constexpr std::array<std::string_view, 5> kOfConnections = {
      "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};
  std::vector<http::Header> fields;
  fields.reserve(headers.size() + 1);
  if (status != 0) fields.push_back({.name = ":status", .value = std::to_string(status)});
  for (const auto& [name, value] : headers) {
    http::Header field{.name = name, .value = value};
    for (char& c : field.name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (std::ranges::find(kOfConnections, field.name) == kOfConnections.end())
      fields.push_back(std::move(field));
  }
  return fields;
}

/// Points into `fields`; nghttp2 copies what it is given, and does not write to it.
std::vector<nghttp2_nv> as_nv(const std::vector<http::Header>& fields) {
  const auto bytes = [](const std::string& text) {
    return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
  };
  std::vector<nghttp2_nv> out;
  out.reserve(fields.size());
  for (const auto& [name, value] : fields) {
    out.push_back({.name = bytes(name),
                   .value = bytes(value),
                   .namelen = name.size(),
                   .valuelen = value.size(),
                   .flags = NGHTTP2_NV_FLAG_NONE});
  }
  return out;
}

}  // namespace

void H2Client::answer(const Answer& answer) {
  const bool has_body = !answer.body.empty();
  submit_head(answer.status, answer.headers, has_body);
  body(answer.body);
  end({});
}

// The request's body.

void H2Client::start_body() {
  started_ = true;
  body_.on_taken = [this](std::size_t count) {
    count = std::min(count, held_);
    held_ -= count;
    nghttp2_session_consume(wire_, id_, count);
    writer_.notify();
  };
  if (gone_ || closed_) return body_.lose();
  const std::string early = std::exchange(early_, {});
  if (!early.empty()) body_.add(early);
  if (body_ended_) body_.finish();
}

asio::awaitable<void> H2Client::stop_body() {
  stopped_ = true;
  body_.on_taken = nullptr;
  early_ = {};
  let_go(std::exchange(held_, 0));
  co_return;
}

/// Nobody takes these bytes. The connection has room again for other streams; this one has not, so
/// that the guest does not send on in vain.
void H2Client::let_go(std::size_t count) {
  if (count == 0) return;
  nghttp2_session_consume_connection(wire_, count);
  writer_.notify();
}

void H2Client::connection_data(std::string_view bytes) {
  touch();
  const bool has_none = head_ != nullptr && head_->framing == http::Framing::length &&
                        head_->content_length == 0 && !bytes.empty();
  if (has_none) reset(NGHTTP2_PROTOCOL_ERROR);  // RFC 9113 §8.1.1
  if (gone_ || stopped_ || (started_ && body_.settled())) return let_go(bytes.size());
  held_ += bytes.size();
  if (started_) {
    body_.add(bytes);
  } else {
    early_ += bytes;
  }
}

void H2Client::connection_body_end() {
  body_ended_ = true;
  if (started_ && !stopped_) body_.finish();
}

// The answer.

void H2Client::submit_head(int status, std::span<const http::Header> headers, bool has_body) {
  if (gone_ || headed_) return;
  headed_ = true;
  if (!has_body) ended_ = true;
  const auto fields = fields_for_h2(status, headers);
  const auto nv = as_nv(fields);
  const nghttp2_data_provider provider{.source = {.ptr = this}, .read_callback = &read_body};
  ++unsent_heads_;
  if (nghttp2_submit_response(wire_, id_, nv.data(), nv.size(), has_body ? &provider : nullptr) !=
      0) {
    return abort();
  }
  writer_.notify();
}

void H2Client::informational(const ResponseHead& head) {
  if (gone_ || headed_) return;
  const auto fields = fields_for_h2(head.status, http::headers_for_client(head.headers));
  const auto nv = as_nv(fields);
  ++unsent_heads_;
  if (nghttp2_submit_headers(wire_, NGHTTP2_FLAG_NONE, id_, nullptr, nv.data(), nv.size(),
                             nullptr) != 0) {
    return abort();
  }
  writer_.notify();
}

void H2Client::head(const ResponseHead& head) {
  const ResponseFraming framing = choose_framing(head, head_->method, 1);
  auto headers = http::headers_for_client(head.headers);
  if (head.content_length && head.status != 204) {
    headers.push_back({.name = "content-length", .value = std::to_string(*head.content_length)});
  }
  if (framing == ResponseFraming::none) return submit_head(head.status, headers, false);
  pending_head_ = {.status = head.status, .headers = std::move(headers)};
  writer_.notify();
}

void H2Client::submit_pending_head(bool has_body) {
  if (const auto head = std::exchange(pending_head_, std::nullopt))
    submit_head(head->status, head->headers, has_body);
}

bool H2Client::has_room() const {
  const bool room = out_.size() - taken_ < kHighWater;
  if (!room) held_back_ = true;
  return room;
}

void H2Client::body(std::string_view bytes) {
  if (gone_ || ended_ || bytes.empty()) return;
  submit_pending_head(true);
  out_ += bytes;
  resume();
}

void H2Client::end(std::span<const http::Header> trailers) {
  if (gone_ || ended_) return;
  if (head_ != nullptr && head_->accepts_trailers) trailers_ = fields_for_h2(0, trailers);
  submit_pending_head(!trailers_.empty());
  ended_ = true;
  resume();
}

void H2Client::resume() {
  // Fails where nothing was put off, which is fine.
  [[maybe_unused]] const int ignored = nghttp2_session_resume_data(wire_, id_);
  writer_.notify();
}

void H2Client::reset(std::uint32_t error) {
  if (gone_ || end_sent_) return;
  gone_ = true;
  out_ = {};
  taken_ = 0;
  nghttp2_submit_rst_stream(wire_, NGHTTP2_FLAG_NONE, id_, error);
  writer_.notify();
  changed_.notify();
}

bool H2Client::has_output() const {
  if (gone_) return false;
  return pending_head_ || unsent_heads_ > 0 || taken_ < out_.size() || (ended_ && !end_sent_);
}

/// Returns after a while also when the guest takes nothing: whoever waits here has deadlines and
/// cuts to look at, which nothing else would wake it for.
asio::awaitable<bool> H2Client::flush() {
  constexpr std::chrono::milliseconds kLookAround{500};
  submit_pending_head(true);
  writer_.notify();
  if (has_output()) {
    [[maybe_unused]] const bool moved = co_await changed_.wait_until(Clock::now() + kLookAround);
  }
  co_return !gone_;
}

ssize_t H2Client::read_body(nghttp2_session*, std::int32_t, std::uint8_t* room, std::size_t size,
                            std::uint32_t* flags, nghttp2_data_source* source, void*) {
  auto* self = static_cast<H2Client*>(source->ptr);
  try {
    const std::size_t count = self->take_output(room, size);
    if (self->ended_ && self->taken_ == self->out_.size()) {
      self->finish_output(flags);
    } else if (count == 0) {
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(count);
  } catch (...) {
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
}

std::size_t H2Client::take_output(std::uint8_t* room, std::size_t size) {
  const std::size_t count = std::min(size, out_.size() - taken_);
  if (count == 0) return 0;
  std::memcpy(room, out_.data() + taken_, count);
  taken_ += count;
  // Let the front go once it is most of the buffer, so that the buffer does not grow.
  if (taken_ >= kHighWater / 2 || taken_ == out_.size()) {
    out_.erase(0, taken_);
    taken_ = 0;
  }
  touch();
  changed_.notify();
  return count;
}

void H2Client::finish_output(std::uint32_t* flags) {
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (trailers_.empty()) return;
  const auto nv = as_nv(trailers_);
  ++unsent_heads_;
  if (nghttp2_submit_trailer(wire_, id_, nv.data(), nv.size()) == 0) {
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  } else {
    --unsent_heads_;
  }
}

void H2Client::connection_head_sent() {
  if (unsent_heads_ > 0) --unsent_heads_;
  touch();
  changed_.notify();
}

void H2Client::connection_end_sent() {
  end_sent_ = true;
  changed_.notify();
  // RFC 9113 §8.1: the answer is whole, the rest of the request is not wanted.
  if (!body_ended_) nghttp2_submit_rst_stream(wire_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_NO_ERROR);
}

void H2Client::connection_closed() {
  if (closed_) return;
  closed_ = true;
  if (!end_sent_) gone_ = true;
  early_ = {};
  let_go(std::exchange(held_, 0));
  changed_.notify();
  if (gone_ && started_ && !stopped_) body_.lose();
}

void H2Client::connection_moved() {
  if (!held_back_ || !has_room()) return;
  held_back_ = false;
  if (on_room) on_room();
}

}  // namespace pinhole::pep
