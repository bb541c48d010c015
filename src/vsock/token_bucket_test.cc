// SPDX-License-Identifier: Apache-2.0
#include "vsock/token_bucket.h"

#include <gtest/gtest.h>

namespace pinhole::vsock {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(TokenBucket, ABurstPassesAndThenOnePerInterval) {
  TokenBucket::TimePoint now{seconds(1)};
  TokenBucket bucket(3, milliseconds(10));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(now)) << i;
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.next(), now + milliseconds(10));
  now += milliseconds(10) - microseconds(1);
  EXPECT_FALSE(bucket.ready(now));
  now += microseconds(1);
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
}

TEST(TokenBucket, ARateJustBelowItsOwnIsNeverHeldUp) {
  TokenBucket::TimePoint now{seconds(1)};
  TokenBucket bucket(1, milliseconds(10));
  for (int i = 0; i < 1000; ++i, now += milliseconds(10)) ASSERT_TRUE(bucket.take(now)) << i;
}

TEST(TokenBucket, RestGivesBackTheBurstAndNotMore) {
  TokenBucket::TimePoint now{seconds(1)};
  TokenBucket bucket(3, milliseconds(10));
  while (bucket.take(now)) {
  }
  now += seconds(3600);
  int taken = 0;
  while (bucket.take(now)) ++taken;
  EXPECT_EQ(taken, 3);
}

}  // namespace
}  // namespace pinhole::vsock
