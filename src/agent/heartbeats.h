// SPDX-License-Identifier: Apache-2.0
// One connection's heartbeats: which wait for their answer, and since when.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

namespace pinhole::agent {

class Heartbeats {
 public:
  /// Unanswered ones, before the connection counts as dead.
  static constexpr std::uint64_t kMostMissed = 4;

  [[nodiscard]] bool are_missed() const { return sent_ >= acknowledged_ + kMostMissed; }

  /// The number of the next, which is sent at `now`; only where are_missed() is false.
  std::uint64_t send(std::chrono::milliseconds now) {
    sent_at_[++sent_ % kMostMissed] = now;
    return sent_;
  }

  /// When that one was sent. Nothing for an answer to no question: what the host says unasked has a
  /// 0, and what was answered already may be of any age.
  std::optional<std::chrono::milliseconds> acknowledge(std::uint64_t seq) {
    const bool waits = seq > acknowledged_ && seq <= sent_;
    acknowledged_ = std::max(acknowledged_, std::min(seq, sent_));
    return waits ? std::optional(sent_at_[seq % kMostMissed]) : std::nullopt;
  }

 private:
  std::uint64_t sent_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::array<std::chrono::milliseconds, kMostMissed> sent_at_ = {};
};

}  // namespace pinhole::agent
