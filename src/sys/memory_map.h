// SPDX-License-Identifier: Apache-2.0
// Memory shared with another process through a descriptor that it sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// A shared, readable and writable mapping of `size` bytes at `offset` of a file; unmapped with its
/// owner. The file is checked to hold all of it, so that touching the mapping cannot raise SIGBUS
/// (unless its owner shrinks it afterwards, which ends only the VM that it belongs to).
class MemoryMap {
 public:
  static Result<MemoryMap> map_shared(int fd, std::uint64_t offset, std::uint64_t size);

  MemoryMap() = default;
  MemoryMap(MemoryMap&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_(std::exchange(other.mapped_, 0)),
        bytes_(std::exchange(other.bytes_, {})) {}
  MemoryMap& operator=(MemoryMap&& other) noexcept;
  ~MemoryMap();

  [[nodiscard]] std::span<std::uint8_t> bytes() const { return bytes_; }

 private:
  void* base_ = nullptr;  // page-aligned, at or before bytes_
  std::size_t mapped_ = 0;
  std::span<std::uint8_t> bytes_;
};

/// Anonymous memory with a descriptor to send (memfd), `size` bytes of zeros.
Result<Fd> make_memory_file(const char* name, std::uint64_t size);

}  // namespace pinhole::sys
