// SPDX-License-Identifier: Apache-2.0
#include "pep/upload.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace pinhole::pep {

void Upload::begin(http::Framing framing, std::uint64_t length, std::uint64_t limit) {
  framing_ = framing;
  left_ = length;
  limit_ = limit;
  bytes_ = 0;
  chunks_ = {};
  ahead_.clear();
  taken_ = 0;
  complete_ = framing == http::Framing::none || (framing == http::Framing::length && length == 0);
  stopped_ = guest_left_ = false;
  refusal_.reset();
}

asio::awaitable<void> Upload::pump(std::function<void()> more) {
  while (!complete_ && !stopped_ && !failed()) {
    if (ahead_.size() - taken_ >= kAhead) {
      co_await room_.wait();
      continue;
    }
    if (take_input()) {
      more();
      continue;
    }
    const bool came = co_await guest_.read_more();
    if (!came && !stopped_) guest_left_ = true;
  }
  more();
}

bool Upload::take_input() {
  if (guest_.input().empty()) return false;
  return framing_ == http::Framing::length ? take_plain() : take_chunked();
}

bool Upload::take_plain() {
  const std::string_view input = guest_.input();
  const std::string_view part = input.substr(0, std::min<std::uint64_t>(input.size(), left_));
  add(part);
  left_ -= part.size();
  guest_.consume(part.size());
  complete_ = left_ == 0;
  return true;
}

bool Upload::take_chunked() {
  const auto step = chunks_.next(guest_.input());
  if (!step) {
    refusal_ = Refusal{
        .code = step.error().code, .status = step.error().status, .detail = step.error().detail};
    return true;
  }
  add(step->data);
  guest_.consume(step->consumed);
  complete_ = step->done;
  return step->consumed > 0 || step->done;
}

void Upload::add(std::string_view bytes) {
  bytes_ += bytes.size();
  if (bytes_ > limit_) {
    refusal_ =
        Refusal{.code = "constraint_violation",
                .detail = fmt::format("the request's body is over the limit of {} bytes", limit_)};
    return;
  }
  if (taken_ == ahead_.size()) {
    ahead_.clear();
    taken_ = 0;
  }
  ahead_ += bytes;
}

UploadChunk Upload::take(std::span<char> room) {
  if (failed()) return {.state = UploadState::abort};
  const std::size_t count = std::min(room.size(), ahead_.size() - taken_);
  if (count == 0) return {.state = complete_ ? UploadState::end : UploadState::wait};
  std::memcpy(room.data(), ahead_.data() + taken_, count);
  taken_ += count;
  // Let the front go once it is most of the buffer, so that the buffer does not grow with the body.
  if (taken_ >= kAhead / 2) {
    ahead_.erase(0, taken_);
    taken_ = 0;
  }
  room_.notify();
  return {.state = UploadState::data, .size = count};
}

void Upload::stop() {
  stopped_ = true;
  room_.notify();
  if (!complete_) guest_.cancel_waits();
}

}  // namespace pinhole::pep
