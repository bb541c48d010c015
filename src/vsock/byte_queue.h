// SPDX-License-Identifier: Apache-2.0
// Bytes that wait: a circular buffer that has no memory while it is empty.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace pinhole::vsock {

/// A first-in-first-out queue of bytes. Grows in powers of two; the caller bounds what it puts in.
class ByteQueue {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// Bytes of memory held.
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

  /// Adds what `from` covers, without its first `skip` bytes.
  void append(std::span<const iovec> from, std::size_t skip);
  /// All that waits, in order; the second part may be empty. Valid until the next change.
  [[nodiscard]] std::array<iovec, 2> front() const;
  /// Drops the first `count` bytes; gives the memory back when none is left.
  void consume(std::size_t count);
  void clear();

 private:
  void append_bytes(std::span<const std::uint8_t> bytes);
  void reserve(std::size_t needed);

  std::unique_ptr<std::uint8_t[]> data_;
  std::size_t capacity_ = 0;  // 0 or a power of two
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace pinhole::vsock
