// SPDX-License-Identifier: Apache-2.0
#include "vhost/limited_log.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinhole::vhost {
namespace {

using std::chrono::seconds;
using Lines = std::vector<std::string>;

struct LimitedLogTest : ::testing::Test {
  Lines lines;
  LimitedLog log{[this](std::string_view text) { lines.emplace_back(text); }};
  vsock::TimePoint now{seconds(1)};
};

TEST_F(LimitedLogTest, AsManyAsTheBurstAreWritten) {
  for (std::uint32_t i = 0; i < kLogBurst; ++i) log.write("broken", now);
  EXPECT_EQ(lines, Lines(kLogBurst, "broken"));
  EXPECT_EQ(log.next_deadline(), std::nullopt);
}

TEST_F(LimitedLogTest, WhatIsTooMuchBecomesOneLineThatCounts) {
  for (std::uint32_t i = 0; i < kLogBurst + 32; ++i) log.write("broken", now);
  EXPECT_EQ(lines.size(), kLogBurst);
  lines.clear();
  EXPECT_EQ(log.next_deadline(), now + kLogInterval);
  log.on_time(now + kLogInterval - seconds(1));
  EXPECT_EQ(lines, Lines());
  log.on_time(now + kLogInterval);
  EXPECT_EQ(lines, Lines{"32 more messages were dropped"});
  EXPECT_EQ(log.next_deadline(), std::nullopt);
  log.on_time(now + 10 * kLogInterval);
  EXPECT_EQ(lines.size(), 1U);
}

TEST_F(LimitedLogTest, TheNextLineThatFitsIsPrecededByTheCount) {
  for (std::uint32_t i = 0; i < kLogBurst + 1; ++i) log.write("broken", now);
  lines.clear();
  log.write("again", now + kLogInterval);
  EXPECT_EQ(lines, (Lines{"1 more message was dropped", "again"}));
}

TEST_F(LimitedLogTest, ADayOfComplaintsIsALineAMinute) {
  for (int i = 0; i < 24 * 60 * 60; ++i, now += seconds(1)) {
    log.write("broken", now);
    log.on_time(now);
  }
  EXPECT_LE(lines.size(), kLogBurst + 2 * 24 * 60);
}

}  // namespace
}  // namespace pinhole::vhost
