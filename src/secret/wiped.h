// SPDX-License-Identifier: Apache-2.0
// Memory that does not outlive its use: what held a secret is overwritten before it is freed.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <string.h>

namespace pinhole::secret {

template <typename T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <typename U>
  explicit WipingAllocator(const WipingAllocator<U>& /*other*/) {}
  T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* memory, std::size_t count) {
    explicit_bzero(static_cast<void*>(memory), count * sizeof(T));
    std::allocator<T>().deallocate(memory, count);
  }
  template <typename U>
  bool operator==(const WipingAllocator<U>& /*other*/) const {
    return true;
  }
};

/// A vector has no short form inside the object, which nobody would wipe.
using WipedBytes = std::vector<char, WipingAllocator<char>>;

}  // namespace pinhole::secret
