// SPDX-License-Identifier: Apache-2.0
#include "base/strings.h"

#include <array>

#include <gtest/gtest.h>

namespace pinhole {
namespace {

TEST(Strings, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (std::vector<std::string_view>{""}));
}

TEST(Strings, ParseU64TakesDigitsOnly) {
  EXPECT_EQ(parse_u64("18446744073709551615"), 18446744073709551615U);
  for (const char* bad : {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"}) {
    EXPECT_FALSE(parse_u64(bad)) << bad;
  }
}

TEST(Strings, ParseSizeKnowsBinaryUnits) {
  EXPECT_EQ(parse_size("64KiB"), 65536U);
  EXPECT_EQ(parse_size("2GiB"), 2147483648U);
  EXPECT_EQ(parse_size("2G"), 2147483648U);
  EXPECT_EQ(parse_size("512"), 512U);
  for (const char* bad : {"", "KiB", "1kB", "1.5GiB", "99999999999TiB"})
    EXPECT_FALSE(parse_size(bad)) << bad;
}

TEST(Strings, ClosestSuggestsOnlyNearWords) {
  constexpr std::array<std::string_view, 3> kWords = {"allow", "deny", "internal"};
  EXPECT_EQ(closest("alow", kWords), "allow");
  EXPECT_EQ(closest("intrenal", kWords), "internal");
  EXPECT_EQ(closest("zebra", kWords), std::nullopt);
}

}  // namespace
}  // namespace pinhole
