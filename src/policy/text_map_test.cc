// SPDX-License-Identifier: Apache-2.0
#include "policy/text_map.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>

namespace pinhole::policy {
namespace {

TEST(TextMap, FindsWhatWasPutInAndNothingElse) {
  for (const int count : {0, 1, 4, 5, 8, 9, 1000, 20'000}) {
    TextMap<int> map;
    for (int i = 0; i < count; ++i) EXPECT_TRUE(map.emplace(fmt::format("key {}", i), i));
    for (int i = 0; i < count; ++i) {
      const auto found = map.find(fmt::format("key {}", i));
      ASSERT_NE(found, map.end()) << i << " of " << count;
      EXPECT_EQ(found->second, i);
      EXPECT_EQ(map.find(fmt::format("key {}x", i)), map.end());
    }
    EXPECT_EQ(map.find(""), map.end());
    EXPECT_EQ(map.end() - map.begin(), count);
  }
}

TEST(TextMap, TheFirstValueStaysAndBracketsChangeIt) {
  TextMap<std::string> map;
  EXPECT_TRUE(map.emplace("a", "1"));
  EXPECT_FALSE(map.emplace("a", "2"));
  EXPECT_EQ(map.find("a")->second, "1");
  map["a"] = "3";
  map[""] = "empty";
  for (int i = 0; i < 100; ++i) map[fmt::format("{}", i)] = "x";
  EXPECT_EQ(map.find("a")->second, "3");
  EXPECT_EQ(map.find("")->second, "empty");
  EXPECT_EQ(map.begin()->first, "a");
}

TEST(TextMap, HoldsWhatCanOnlyMove) {
  TextMap<std::unique_ptr<int>> map;
  for (int i = 0; i < 100; ++i) map[fmt::format("{}", i)] = std::make_unique<int>(i);
  EXPECT_EQ(*map.find("42")->second, 42);
}

}  // namespace
}  // namespace pinhole::policy
