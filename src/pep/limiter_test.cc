// SPDX-License-Identifier: Apache-2.0
#include "pep/limiter.h"

#include <gtest/gtest.h>

#include "audit/writer.h"
#include "sys/files.h"

namespace pinhole::pep {
namespace {

using namespace std::chrono_literals;

policy::RuleLimits rated(std::uint64_t count, std::chrono::seconds per) {
  policy::RuleLimits limits;
  limits.rate = policy::Rate{count, per};
  return limits;
}
policy::RuleLimits concurrent(std::uint64_t count) {
  policy::RuleLimits limits;
  limits.concurrent = count;
  return limits;
}

class LimiterTest : public testing::Test {
 protected:
  /// "" or what refused.
  std::string ask(const policy::RuleLimits& rule, const std::string& id = "p:1") {
    auto slot = limiter_.admit(id, {rule, door_}, now_);
    if (!slot) {
      retry_after_ = slot.error().retry_after;
      return slot.error().which;
    }
    if (keep_) slots_.push_back(*std::move(slot));
    return "";
  }

  Limiter limiter_;
  policy::Limits door_;
  Limiter::Time now_{std::chrono::sys_days(std::chrono::year(2026) / 11 / 23)};
  std::chrono::seconds retry_after_{};
  std::vector<Limiter::Slot> slots_;
  bool keep_ = false;
};

TEST_F(LimiterTest, LetsThroughWhatHasNoLimits) {
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ask({}), "");
  EXPECT_EQ(limiter_.rules(), 0U);
}

TEST_F(LimiterTest, RateGivesItsBurstThenOneAtATime) {
  const auto rule = rated(3, 60s);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(rule), "");
  EXPECT_EQ(ask(rule), "3/min of the rule at p:1");
  EXPECT_EQ(retry_after_, 20s);
  now_ += 19s;
  EXPECT_NE(ask(rule), "");
  EXPECT_EQ(retry_after_, 1s);
  now_ += 1s;
  EXPECT_EQ(ask(rule), "");
  EXPECT_NE(ask(rule), "");
  now_ += 24h;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(rule), "");
  EXPECT_NE(ask(rule), "");
}

TEST_F(LimiterTest, RulesHaveTheirOwnAndTheDoorCountsAll) {
  door_.rate = policy::Rate{3, 3600s};
  EXPECT_EQ(ask(rated(1, 60s), "p:1"), "");
  EXPECT_EQ(ask(rated(1, 60s), "p:1"), "1/min of the rule at p:1");
  EXPECT_EQ(ask(rated(1, 60s), "p:2"), "");
  EXPECT_EQ(ask({}, "p:3"), "");
  EXPECT_EQ(ask({}, "p:3"), "3/h of the whole door");
  EXPECT_EQ(retry_after_, 1200s);
}

TEST_F(LimiterTest, RefusedRequestTakesNothing) {
  const auto rule = rated(2, 60s);
  door_.rate = policy::Rate{1, 1s};
  EXPECT_EQ(ask(rule), "");
  EXPECT_EQ(ask(rule), "1/s of the whole door");
  now_ += 1s;
  EXPECT_EQ(ask(rule), "");
}

TEST_F(LimiterTest, PlacesComeBackAtTheEndOfAnExchange) {
  keep_ = true;
  door_.concurrent = 3;
  EXPECT_EQ(ask(concurrent(2)), "");
  EXPECT_EQ(ask(concurrent(2)), "");
  EXPECT_EQ(ask(concurrent(2)), "2 at a time of the rule at p:1");
  EXPECT_EQ(ask({}, "p:2"), "");
  EXPECT_EQ(ask({}, "p:2"), "3 at a time of the whole door");
  slots_[0].finish();
  slots_[0].finish();  // counts once
  EXPECT_EQ(ask(concurrent(2)), "");
  EXPECT_NE(ask(concurrent(2)), "");
  slots_.clear();
  EXPECT_EQ(ask(concurrent(2)), "");
}

TEST_F(LimiterTest, SlotMayOutliveTheLimiter) {
  Limiter::Slot slot;
  {
    Limiter other;
    slot = other.admit("p:1", {concurrent(1), door_}, now_).value();
  }
  slot.finish();
}

TEST_F(LimiterTest, ReplayedExchangesCount) {
  const auto rule = rated(3, 60s);
  for (const auto ago : {90s, 80s, 10s, 5s}) limiter_.remember("p:1", now_ - ago);
  EXPECT_EQ(ask(rule), "");
  EXPECT_EQ(ask(rule), "3/min of the rule at p:1");
}

TEST_F(LimiterTest, RememberedExchangesCountForTheDoorToo) {
  door_.rate = policy::Rate{2, std::chrono::hours(24)};
  limiter_.remember("p:1", now_ - 1s);
  limiter_.remember("p:2", now_ - 2s);
  EXPECT_EQ(ask({}, "p:3"), "2/day of the whole door");
  now_ += 12h;
  EXPECT_EQ(ask({}, "p:3"), "");
}

TEST_F(LimiterTest, BudgetsComeBackFromTheAuditLog) {
  const auto folder = sys::TempDir::make().value();
  const auto path = folder.path() / "audit.jsonl";
  EXPECT_TRUE(recall_budgets(limiter_, path, now_));  // there is none yet
  EXPECT_TRUE(recall_budgets(limiter_, "/dev/null", now_));
  {
    auto writer = audit::Writer::open(path, {"web", "b"}).value();
    for (const char* action : {"allow", "deny", "intercept", "tunnel"})
      ASSERT_TRUE(writer.append({.rule = "p:1", .action = action}));
    ASSERT_TRUE(writer.append({.kind = audit::Kind::end, .rule = "p:1"}));
  }
  now_ = std::chrono::system_clock::now();
  ASSERT_TRUE(recall_budgets(limiter_, path, now_));
  EXPECT_EQ(ask(rated(3, std::chrono::hours(24))), "");
  EXPECT_EQ(ask(rated(3, std::chrono::hours(24))), "3/day of the rule at p:1");
}

TEST_F(LimiterTest, ChangedRateKeepsTheShareThatIsLeft) {
  EXPECT_EQ(ask(rated(2, 60s)), "");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(rated(10, 60s)), "");
  EXPECT_NE(ask(rated(10, 60s)), "");
}

TEST_F(LimiterTest, ClockThatGoesBackGivesNothing) {
  const auto rule = rated(1, 60s);
  EXPECT_EQ(ask(rule), "");
  now_ -= 1h;
  EXPECT_NE(ask(rule), "");
  now_ += 59s;
  EXPECT_NE(ask(rule), "");
  now_ += 1s;
  EXPECT_EQ(ask(rule), "");
}

TEST_F(LimiterTest, RemembersABoundedNumberOfRules) {
  for (std::size_t i = 0; i < Limiter::kMostRules; ++i)
    ASSERT_EQ(ask(rated(1, 60s), std::to_string(i)), "");
  EXPECT_EQ(ask(rated(1, 60s), "one more"), "too many rules with limits at once");
  now_ += 60s;
  EXPECT_EQ(ask(rated(1, 60s), "one more"), "");
  EXPECT_EQ(limiter_.rules(), 1U);
}

}  // namespace
}  // namespace pinhole::pep
