// SPDX-License-Identifier: Apache-2.0
#include "vsock/byte_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace pinhole::vsock {

void ByteQueue::append(std::span<const iovec> from, std::size_t skip) {
  std::size_t total = 0;
  for (const iovec& part : from) total += part.iov_len;
  if (total <= skip) return;
  reserve(size_ + total - skip);
  for (const iovec& part : from) {
    const std::size_t skipped = std::min(skip, part.iov_len);
    skip -= skipped;
    append_bytes(
        {static_cast<const std::uint8_t*>(part.iov_base) + skipped, part.iov_len - skipped});
  }
}

std::array<iovec, 2> ByteQueue::front() const {
  if (size_ == 0) return {};
  const std::size_t first = std::min(size_, capacity_ - head_);
  return {iovec{data_.get() + head_, first}, iovec{data_.get(), size_ - first}};
}

void ByteQueue::consume(std::size_t count) {
  PINHOLE_CHECK(count <= size_);
  size_ -= count;
  if (size_ == 0) {
    clear();
  } else {
    head_ = (head_ + count) & (capacity_ - 1);
  }
}

void ByteQueue::clear() {
  data_.reset();
  capacity_ = head_ = size_ = 0;
}

void ByteQueue::append_bytes(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const std::size_t tail = (head_ + size_) & (capacity_ - 1);
    const std::size_t count = std::min(bytes.size(), capacity_ - tail);
    std::memcpy(data_.get() + tail, bytes.data(), count);
    size_ += count;
    bytes = bytes.subspan(count);
  }
}

void ByteQueue::reserve(std::size_t needed) {
  constexpr std::size_t kSmallest = 4096;
  if (needed <= capacity_) return;
  const std::size_t capacity = std::bit_ceil(std::max(needed, kSmallest));
  auto data = std::make_unique_for_overwrite<std::uint8_t[]>(capacity);
  std::size_t moved = 0;
  for (const iovec& part : front()) {
    if (part.iov_len > 0) std::memcpy(data.get() + moved, part.iov_base, part.iov_len);
    moved += part.iov_len;
  }
  data_ = std::move(data);
  capacity_ = capacity;
  head_ = 0;
}

}  // namespace pinhole::vsock
