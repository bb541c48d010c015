// SPDX-License-Identifier: Apache-2.0
// How often a process that dies is started again.
#pragma once

#include <chrono>
#include <deque>
#include <string>

namespace pinhole::supervisor {

/// At most `limit` restarts within any `window`. What dies more often than that is broken in a way
/// that a restart does not mend, or is being killed by its guest.
class RestartBudget {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kLimit = 3;
  static constexpr std::chrono::minutes kWindow{10};

  explicit RestartBudget(std::size_t limit = kLimit) : limit_(limit) {}

  /// True, and counted, when one more restart is within the budget.
  bool take(TimePoint now) {
    while (!taken_.empty() && now - taken_.front() >= kWindow) taken_.pop_front();
    if (taken_.size() >= limit_) return false;
    taken_.push_back(now);
    return true;
  }

  [[nodiscard]] std::size_t limit() const { return limit_; }

 private:
  std::size_t limit_;
  std::deque<TimePoint> taken_;
};

}  // namespace pinhole::supervisor
