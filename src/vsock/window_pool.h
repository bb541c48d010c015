// SPDX-License-Identifier: Apache-2.0
// How much the guest may have under way to all host programs together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace pinhole::vsock {

/// Connections that may exist at once, of every state.
inline constexpr std::size_t kMaxConnections = 1024;
/// Bytes that the host side may hold for one VM, all connections together, when every host program
/// has stopped reading. Towards the guest nothing is held: bytes are read from a host program straight
/// into the guest's buffers, when it has some and has given credit.
inline constexpr std::size_t kMaxBuffered = std::size_t{16} << 20;
/// Receive windows of one connection: what each surely gets, what it starts with, what it can grow
/// to. Powers of two, as ByteQueue's capacities are, so that a window is also a bound of memory.
inline constexpr std::uint32_t kSmallestWindow = 4 * 1024;
inline constexpr std::uint32_t kFirstWindow = 64 * 1024;
inline constexpr std::uint32_t kLargestWindow = 1024 * 1024;
static_assert(kMaxConnections * kSmallestWindow < kMaxBuffered);

/// Hands out windows so that their sum stays within kMaxBuffered. A promised window cannot be taken
/// back from a guest, so the promise, not the use, is what counts. The alternative, to stop reading
/// the guest's ring when memory runs out, would let one stalled host program stop all others.
class WindowPool {
 public:
  /// A first window: kFirstWindow, or less when little is left, never below kSmallestWindow.
  std::uint32_t take() {
    std::uint32_t window = kFirstWindow;
    while (window > kSmallestWindow && window - kSmallestWindow > free_) window /= 2;
    free_ -= window - kSmallestWindow;
    return window;
  }
  /// A window twice as large, if the pool has it; otherwise the same one.
  std::uint32_t grow(std::uint32_t window) {
    if (window >= kLargestWindow || window > free_) return window;
    free_ -= window;
    return window * 2;
  }
  void give_back(std::uint32_t window) {
    free_ += window - kSmallestWindow;
    PINHOLE_CHECK(free_ <= kShared);
  }

 private:
  /// Each connection's kSmallestWindow is not counted: there is one for all that can exist.
  static constexpr std::size_t kShared = kMaxBuffered - kMaxConnections * kSmallestWindow;
  std::size_t free_ = kShared;
};

}  // namespace pinhole::vsock
