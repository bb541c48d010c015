// SPDX-License-Identifier: Apache-2.0
// Whether a process that runs still answers.
#pragma once

#include <chrono>

namespace pinhole::supervisor {

/// One process's question and answer, by the caller's clock. A question without an answer is not
/// asked a second time: a stopped process must not find a thousand of them when it goes on.
class Heart {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kPeriod{5};
  static constexpr std::chrono::seconds kDeadline{10};

  enum class Change { none, lost, back };

  /// Time for the next question; the caller asks it, and tells with asked().
  [[nodiscard]] bool due(TimePoint now) const { return !waiting_ && now - last_ >= kPeriod; }
  void asked(TimePoint now) {
    if (waiting_) return;
    waiting_ = true;
    last_ = now;
  }
  Change answered(TimePoint now) {
    waiting_ = false;
    last_ = now;
    if (!lost_) return Change::none;
    lost_ = false;
    return Change::back;
  }
  /// Called now and then: `lost` once when the deadline has passed.
  Change look(TimePoint now) {
    if (lost_ || !waiting_ || now - last_ < kDeadline) return Change::none;
    lost_ = true;
    return Change::lost;
  }
  [[nodiscard]] bool lost() const { return lost_; }
  /// Of one that is lost: when it was asked in vain.
  [[nodiscard]] TimePoint asked_at() const { return last_; }

 private:
  bool waiting_ = false;
  bool lost_ = false;
  TimePoint last_ = {};  // of the open question, or the last answer
};

}  // namespace pinhole::supervisor
