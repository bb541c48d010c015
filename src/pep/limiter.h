// SPDX-License-Identifier: Apache-2.0
// How often and how many at a time: token buckets and counts, per rule and for the whole VM. Pure;
// time comes from the caller.
//
//   auto admitted = limiter.admit(rule, {verdict.limits, policy.limits()}, now);
//   if (!admitted) … 429, Retry-After: admitted.error().retry_after …
//   // the exchange runs while the Slot in *admitted lives
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "policy/limits.h"

namespace pinhole::pep {

/// `rate: 120/min`: a full bucket of 120, one back every half second. A change of the rate keeps the
/// share that is left.
class RateBucket {
 public:
  using Time = std::chrono::system_clock::time_point;
  RateBucket(policy::Rate rate, Time now);

  void set_rate(policy::Rate rate, Time now);
  /// Nothing: there is one to take. Else the time until there is.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> wait(Time now);
  /// One less, also where none is left (what was let through before a restart).
  void take(Time now);
  [[nodiscard]] bool full(Time now);

 private:
  void refill(Time now);
  policy::Rate rate_;
  double tokens_;
  Time last_;
};

class Limiter {
 public:
  /// The wall clock, because budgets outlive the process by way of the audit log. A clock that goes
  /// back gives nothing; one that jumps ahead gives at most a full bucket.
  using Time = RateBucket::Time;
  /// Rules that are remembered. Only rules with limits count, and those that have nothing taken and
  /// nothing running are forgotten first; where all are busy, a further one is refused.
  static constexpr std::size_t kMostRules = 10'000;

  struct Limits {
    const policy::RuleLimits& rule;
    const policy::Limits& door;
  };
  struct Refused {
    /// Whole seconds, at least 1: what Retry-After says. For concurrency a guess: 1.
    std::chrono::seconds retry_after{1};
    std::string which;  // "120/min of the rule at pinhole.yaml:7", "4 at a time of the whole door"
  };

 private:
  struct Account {
    std::optional<RateBucket> bucket;
    std::uint64_t running = 0;
  };

 public:
  /// One running exchange; its end gives the place back. May outlive the Limiter.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&&) noexcept = default;
    Slot& operator=(Slot&& other) noexcept;
    ~Slot() { finish(); }
    void finish();

   private:
    friend class Limiter;
    std::shared_ptr<Account> rule_, door_;
  };

  /// Takes one of each rate and a place of each count, or nothing of anything.
  std::expected<Slot, Refused> admit(const std::string& rule, const Limits& limits, Time now);
  /// An exchange that an earlier process let through. It counts, with all others, once a bucket for
  /// its rule, or for the door, comes into being.
  void remember(const std::string& rule, Time then);

  [[nodiscard]] std::size_t rules() const { return rules_.size(); }

 private:
  std::shared_ptr<Account> find(const std::string& rule, const policy::RuleLimits& limits,
                                Time now);
  bool make_room(Time now);
  std::shared_ptr<Account> door_ = std::make_shared<Account>();
  std::unordered_map<std::string, std::shared_ptr<Account>> rules_;
  std::unordered_map<std::string, std::vector<Time>> past_;
  std::vector<Time> door_past_;
};

/// Gives `limiter` what the audit log says of the last day, the longest period of a rate; of at most
/// 32 MiB of records (some 80,000), so a higher rate than that per day starts anew with a process.
/// A CONNECT that is looked into ("intercept") does not count, its requests do.
Result<void> recall_budgets(Limiter& limiter, const std::filesystem::path& audit_log,
                            Limiter::Time now);

}  // namespace pinhole::pep
