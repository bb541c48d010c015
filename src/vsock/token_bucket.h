// SPDX-License-Identifier: Apache-2.0
// A rate limit: so many at once, so many in the long run.
#pragma once

#include <chrono>
#include <cstdint>

namespace pinhole::vsock {

/// Lets `burst` things happen at once, and one more per `interval`. Counts in time, not in tokens
/// (the "generic cell rate algorithm"), so nothing has to be refilled. The clock is the caller's.
class TokenBucket {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  TokenBucket(std::uint32_t burst, Duration interval)
      : interval_(interval), slack_(interval * (burst - 1)) {}

  /// True when take() would succeed.
  [[nodiscard]] bool ready(TimePoint now) const { return now >= next(); }
  /// The first moment at which ready() is true; it may have passed long ago.
  [[nodiscard]] TimePoint next() const { return due_ - slack_; }
  bool take(TimePoint now) {
    if (!ready(now)) return false;
    due_ = (now > due_ ? now : due_) + interval_;
    return true;
  }

 private:
  Duration interval_;
  Duration slack_;
  TimePoint due_{};  // when the bucket will be full again
};

}  // namespace pinhole::vsock
