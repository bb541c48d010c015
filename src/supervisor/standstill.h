// SPDX-License-Identifier: Apache-2.0
// Time for which a guest is not to be judged: it was paused, a process of ours did not answer or was being started again, or
// this supervisor itself was stopped and saw nothing.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace pinhole::supervisor {

/// Pure; looked at about once a second, and before each judgement.
class Standstill {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  /// Between two looks: more means that we were stopped, or that the host hardly lets us run.
  static constexpr std::chrono::seconds kGap{3};
  /// After a gap: first comes what was said meanwhile.
  static constexpr std::chrono::seconds kReads{1};

  struct Span {
    TimePoint since, until;
  };

  explicit Standstill(TimePoint now) : last_look_(now), over_(now) {}

  /// `still`: since when something other than a gap keeps the machine from moving. Returns what is over.
  std::optional<Span> look(std::optional<TimePoint> still, TimePoint now) {
    gap_ = now - last_look_ > kGap;
    if (gap_) {
      begin(last_look_);
      reads_until_ = now + kReads;
    }
    last_look_ = now;
    if (still) begin(std::min(*still, now));
    if (!since_ || still || now < reads_until_) return std::nullopt;
    over_ = now;
    return Span{.since = *std::exchange(since_, std::nullopt), .until = now};
  }
  /// Whether the guest is not to be judged now.
  [[nodiscard]] bool lasts() const { return since_.has_value(); }
  /// The last look came late: whoever did not answer in that time may have.
  [[nodiscard]] bool was_gap() const { return gap_; }

 private:
  /// No time counts twice.
  void begin(TimePoint since) {
    since = std::max(since, over_);
    since_ = since_ ? std::min(*since_, since) : since;
  }

  TimePoint last_look_, over_;
  TimePoint reads_until_{};
  std::optional<TimePoint> since_;
  bool gap_ = false;
};

}  // namespace pinhole::supervisor
