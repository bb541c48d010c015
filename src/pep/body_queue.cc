// SPDX-License-Identifier: Apache-2.0
#include "pep/body_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "pep/buffer.h"

namespace pinhole::pep {

void BodyQueue::begin(bool has_body, std::optional<std::uint64_t> length, std::uint64_t limit) {
  length_ = length;
  limit_ = limit;
  bytes_ = 0;
  ahead_.clear();
  taken_ = 0;
  complete_ = !has_body;
  guest_left_ = false;
  refusal_.reset();
}

void BodyQueue::add(std::string_view bytes) {
  if (settled()) return;
  bytes_ += bytes.size();
  if (bytes_ > limit_) {
    return refuse(
        {.code = "constraint_violation",
         .detail = fmt::format("the request's body is over the limit of {} bytes", limit_)});
  }
  if (length_ && bytes_ > *length_) {
    return refuse({.code = "invalid_request",
                   .detail = fmt::format("the request's body is longer than its Content-Length {}",
                                         *length_)});
  }
  if (taken_ == ahead_.size()) {
    ahead_.clear();
    taken_ = 0;
  }
  ahead_ += bytes;
  changed();
}

void BodyQueue::finish() {
  if (settled()) return;
  if (length_ && bytes_ < *length_) {
    return refuse(
        {.code = "invalid_request",
         .detail = fmt::format("the request's body has {} bytes, its Content-Length says {}",
                               bytes_, *length_)});
  }
  complete_ = true;
  if (taken_ == ahead_.size()) give_memory_back();
  changed();
}

void BodyQueue::give_memory_back() {
  free_buffer(ahead_);
  taken_ = 0;
}

void BodyQueue::refuse(Refusal refusal) {
  if (settled()) return;
  refusal_ = std::move(refusal);
  changed();
}

void BodyQueue::lose() {
  if (settled()) return;
  guest_left_ = true;
  changed();
}

UploadChunk BodyQueue::take(std::span<char> room) {
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
  if (complete_ && taken_ == ahead_.size()) give_memory_back();
  if (on_taken) on_taken(count);
  return {.state = UploadState::data, .size = count};
}

}  // namespace pinhole::pep
