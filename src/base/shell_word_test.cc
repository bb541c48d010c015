// SPDX-License-Identifier: Apache-2.0
#include "base/shell_word.h"

#include <gtest/gtest.h>

namespace pinhole {
namespace {

TEST(ShellWord, PlainOnesStayAsTheyAre) {
  EXPECT_EQ(shell_word("/home/ana/disk-1.raw"), "/home/ana/disk-1.raw");
  EXPECT_EQ(shell_word("a@b:c,d=e%f+g"), "a@b:c,d=e%f+g");
}

TEST(ShellWord, EverythingElseIsQuoted) {
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("a b"), "'a b'");
  EXPECT_EQ(shell_word("$(rm -rf ~)"), "'$(rm -rf ~)'");
  EXPECT_EQ(shell_word("it's"), R"('it'\''s')");
  EXPECT_EQ(shell_word("~root"), "'~root'");
}

}  // namespace
}  // namespace pinhole
