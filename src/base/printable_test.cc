// SPDX-License-Identifier: Apache-2.0
#include "base/printable.h"

#include <gtest/gtest.h>

namespace pinhole {
namespace {

TEST(Printable, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(printable("grüße, 世界 → ok \\n"), "grüße, 世界 → ok \\n");
}

TEST(Printable, EscapesWhatActsOnATerminal) {
  EXPECT_EQ(printable("\x1b[2J\x07\x7f"), "\\x1b[2J\\x07\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\u{009b}");  // CSI as a C1 control
  EXPECT_EQ(printable("a\nb\tc\r"), "a\\nb\\tc\\r");
}

TEST(Printable, EscapesWhatMisleadsAReader) {
  EXPECT_EQ(printable("a\u202Eb"), "a\\u{202e}b");
  EXPECT_EQ(printable("a\u200Bb"), "a\\u{200b}b");
}

TEST(Printable, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(printable("\xff\xc0\x80"), "\\xff\\xc0\\x80");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xf0\x9f"), "\\xf0\\x9f");           // cut short
}

TEST(Printable, CutsAtTheLimitBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 4), "abcd…");
  EXPECT_EQ(printable("abcd", 4), "abcd");
}

}  // namespace
}  // namespace pinhole
