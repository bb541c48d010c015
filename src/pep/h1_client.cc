// SPDX-License-Identifier: Apache-2.0
#include "pep/h1_client.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

#include "pep/buffer.h"

namespace pinhole::pep {
namespace {

/// What an idle connection may keep of each of its buffers.
constexpr std::size_t kKeptBuffer = std::size_t{4} << 10;

void give_back(std::string& buffer) {
  if (buffer.empty() && buffer.capacity() > kKeptBuffer) free_buffer(buffer);
}

}  // namespace

void H1Client::begin(const http::RequestHead& head) {
  head_ = &head;
  left_ = head.content_length;
  chunks_ = {};
  begun_ = stopped_ = keep_alive_ = ended_ = false;
  framing_ = ResponseFraming::none;
  out_.clear();
  writing_.clear();
}

void H1Client::start_body() {
  if (body_.settled()) return;
  begun_ = pumping_ = true;
  body_.on_taken = [this](std::size_t) { changed_.notify(); };
  asio::co_spawn(context_, pump(), [this](const std::exception_ptr& thrown) {
    if (thrown) body_.lose();
    pumping_ = false;
    changed_.notify();
  });
}

asio::awaitable<void> H1Client::stop_body() {
  if (pumping_ && !body_.settled()) {
    stopped_ = true;
    changed_.notify();
    guest_.cancel_waits();
  }
  while (pumping_) co_await changed_.wait();
}

asio::awaitable<void> H1Client::pump() {
  while (!body_.settled() && !stopped_) {
    if (body_.full()) {
      co_await changed_.wait();
      continue;
    }
    if (take_input()) continue;
    const bool came = co_await guest_.read_more();
    if (!came && !stopped_) body_.lose();
  }
}

/// Moves what is there; false when more has to be read.
bool H1Client::take_input() {
  if (guest_.input().empty()) return false;
  return head_->framing == http::Framing::length ? take_plain() : take_chunked();
}

bool H1Client::take_plain() {
  const std::string_view input = guest_.input();
  const std::string_view part = input.substr(0, std::min<std::uint64_t>(input.size(), left_));
  left_ -= part.size();
  body_.add(part);
  guest_.consume(part.size());
  if (left_ == 0) body_.finish();
  return true;
}

bool H1Client::take_chunked() {
  const auto step = chunks_.next(guest_.input());
  if (!step) {
    body_.refuse(
        {.code = step.error().code, .status = step.error().status, .detail = step.error().detail});
    return true;
  }
  if (!step->data.empty()) body_.add(step->data);
  guest_.consume(step->consumed);
  if (step->done) body_.finish();
  return step->consumed > 0 || step->done;
}

void H1Client::informational(const ResponseHead& head) {
  if (head_->minor_version == 0) return;  // RFC 9110 §15.2: HTTP/1.0 has none
  append_response_head(out_, head, {});
}

void H1Client::head(const ResponseHead& head) {
  framing_ = choose_framing(head, head_->method, head_->minor_version);
  keep_alive_ = head_->keep_alive && framing_ != ResponseFraming::close && body_.complete();
  append_response_head(out_, head,
                       {.framing = framing_,
                        .keep_alive = keep_alive_,
                        .guest_minor_version = head_->minor_version});
}

void H1Client::body(std::string_view bytes) {
  if (bytes.empty()) return;
  if (framing_ == ResponseFraming::chunked) {
    fmt::format_to(std::back_inserter(out_), "{:x}\r\n", bytes.size());
    out_.append(bytes).append("\r\n");
  } else {
    out_ += bytes;
  }
}

void H1Client::end(std::span<const http::Header> trailers) {
  ended_ = true;
  if (framing_ == ResponseFraming::chunked) end_chunks(trailers);
  give_buffers_back();
}

void H1Client::end_chunks(std::span<const http::Header> trailers) {
  out_ += "0\r\n";
  if (head_->accepts_trailers) {
    for (const auto& [name, value] : trailers) {
      out_.append(name).append(": ").append(value).append("\r\n");
    }
  }
  out_ += "\r\n";
}

void H1Client::abort() {
  out_.clear();
  guest_.close();  // also ends a write that the guest does not take
}

asio::awaitable<bool> H1Client::flush() {
  std::swap(out_, writing_);
  if (on_room) on_room();  // fills the other buffer meanwhile
  const bool written = co_await guest_.write(writing_);
  writing_.clear();
  if (ended_) give_buffers_back();
  co_return written;
}

/// Those that hold nothing: one that is being written comes here again.
void H1Client::give_buffers_back() {
  give_back(out_);
  give_back(writing_);
}

}  // namespace pinhole::pep
