// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <gtest/gtest.h>

namespace pinhole {
namespace {

TEST(Clock, FormatsAndReadsBackRfc3339) {
  const auto time = parse_time("2026-11-22T17:36:22.862Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(format_time(*time), "2026-11-22T17:36:22.862Z");
  EXPECT_EQ(format_time({}), "1970-01-01T00:00:00.000Z");
}

TEST(Clock, RefusesWhatIsNotATime) {
  for (const char* bad : {"", "2026-13-22T17:36:22Z", "2026-11-22 17:36:22Z",
                          "2026-11-22T17:36:22.86Z", "2026-02-30T00:00:00Z"}) {
    EXPECT_FALSE(parse_time(bad)) << bad;
  }
}

}  // namespace
}  // namespace pinhole
