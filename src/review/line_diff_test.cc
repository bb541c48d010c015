// SPDX-License-Identifier: Apache-2.0
#include "review/line_diff.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::review {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Case {
  const char* before;
  const char* after;
  LineCount expected;
};

TEST(LineDiff, CountsTheFewestEdits) {
  const Case cases[] = {
      {"", "", {0, 0}},
      {"a\n", "a\n", {0, 0}},
      {"", "a\nb\n", {2, 0}},
      {"a\nb\n", "", {0, 2}},
      {"a\nb\nc\n", "a\nx\nc\n", {1, 1}},
      {"a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n", {2, 3}},  // Myers' own example
      {"a\n", "a", {1, 1}},                                     // the newline at the end
      {"a\nb\n", "b\na\n", {1, 1}},
      {"\n\n\n", "\n\n", {0, 1}},
  };
  for (const Case& c : cases)
    EXPECT_EQ(count_changed_lines(c.before, c.after), c.expected) << c.before << "|" << c.after;
}

TEST(LineDiff, TextsThatHaveNothingInCommonAreCountedAsWell) {
  std::string before, after;
  for (int i = 0; i < 5000; ++i) before += fmt::format("old {}\n", i);
  for (int i = 0; i < 4000; ++i) after += fmt::format("new {}\n", i);
  EXPECT_EQ(count_changed_lines(before, after), (LineCount{.added = 4000, .removed = 5000}));
  EXPECT_THAT(unified_diff(before, after, 10), SizeIs(11));
}

TEST(LineDiff, ShowsHunksAsDiffDoes) {
  EXPECT_THAT(unified_diff("a\nb\n", "a\nb\n", 100), IsEmpty());
  EXPECT_THAT(unified_diff("", "a\n", 100), ElementsAre("@@ -0,0 +1,1 @@", "+a"));
  EXPECT_THAT(unified_diff("a\n", "", 100), ElementsAre("@@ -1,1 +0,0 @@", "-a"));
  EXPECT_THAT(unified_diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n", 100),
              ElementsAre("@@ -2,7 +2,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"));
  EXPECT_THAT(unified_diff("a\nb", "a\nc\n", 100),
              ElementsAre("@@ -1,2 +1,2 @@", " a", "-b", "\\ No newline at end of file", "+c"));
}

TEST(LineDiff, FarApartEditsAreHunksOfTheirOwn) {
  std::string before, after;
  for (int i = 1; i <= 40; ++i) {
    before += fmt::format("{}\n", i);
    after += i == 5 || i == 30 ? fmt::format("x{}\n", i) : fmt::format("{}\n", i);
  }
  const auto lines = unified_diff(before, after, 100);
  EXPECT_THAT(lines, SizeIs(18));
  EXPECT_EQ(lines[0], "@@ -2,7 +2,7 @@");
  EXPECT_EQ(lines[9], "@@ -27,7 +27,7 @@");
}

TEST(LineDiff, WhatHasANulByteIsNoText) {
  EXPECT_TRUE(is_text("a\xff\n"));
  EXPECT_FALSE(is_text(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace pinhole::review
