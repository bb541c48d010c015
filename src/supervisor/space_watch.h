// SPDX-License-Identifier: Apache-2.0
// When the machine must pause because the disk below it is full, and when it may go on.
#pragma once

#include <chrono>
#include <cstdint>

namespace pinhole::supervisor {

/// Two marks, so that a machine near one of them does not stop and go with every file that somebody
/// writes. Pure: the caller looks at the file system, and stops and continues the machine.
class SpaceWatch {
 public:
  static constexpr std::uint64_t kLowWater = std::uint64_t{256} << 20;
  static constexpr std::uint64_t kHighWater = std::uint64_t{384} << 20;

  /// After QEMU found the disk full by itself: a quota, say, of which the free space tells nothing,
  /// must not make the machine stop and go every two seconds.
  static constexpr std::chrono::seconds kHold{30};

  enum class Change { none, low, enough };
  using TimePoint = std::chrono::steady_clock::time_point;

  Change look(TimePoint now, std::uint64_t free_bytes) {
    if (!low_ && free_bytes < kLowWater) return low_ = true, Change::low;
    if (low_ && now >= hold_until_ && free_bytes >= kHighWater) return low_ = false, Change::enough;
    return Change::none;
  }
  void found_full(TimePoint now) {
    low_ = true;
    hold_until_ = now + kHold;
  }
  [[nodiscard]] bool low() const { return low_; }

 private:
  bool low_ = false;
  TimePoint hold_until_ = {};
};

}  // namespace pinhole::supervisor
