// SPDX-License-Identifier: Apache-2.0
#include "cli/denials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::cli {
namespace {

using testing::ElementsAre;

TEST(Denials, AreATableWithTheLineThatWouldAllowEach) {
  const std::vector<audit::DeniedGroup> groups{
      {"a.test", "denied_by_policy", "default", 12, "allow:  - GET https://a.test/x"},
      {"", "invalid_request", "", 1, ""}};
  EXPECT_THAT(denial_lines(groups),
              ElementsAre("refused at the door: 13",
                          "      12  a.test                           denied_by_policy   allow:  "
                          "- GET https://a.test/x",
                          "       1  -                                invalid_request"));
  EXPECT_THAT(denial_lines({}), ElementsAre());
}

TEST(Denials, OfSelfTestsAreLeftOut) {
  std::vector<audit::DeniedGroup> groups;
  for (const char* host : {"denied.pinhole.internal", "a.test", "denied.pinhole.internal:443",
                           "notpinhole.internal", "x.pinhole.internal", ""}) {
    groups.push_back({host, "denied_by_policy", "default", 1, ""});
  }
  std::vector<std::string> left;
  for (const auto& group : without_self_tests(groups)) left.push_back(group.host);
  EXPECT_THAT(left, ElementsAre("a.test", "notpinhole.internal", "x.pinhole.internal", ""));
}

TEST(Denials, AreBoundedAndNothingOfAGuestActsOnTheTerminal) {
  std::vector<audit::DeniedGroup> groups(30, {"h\x1b[2J", "c", "", 2, ""});
  const auto lines = denial_lines(groups, 3);
  EXPECT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines.back(), "      54  of 27 more kinds");
  for (const auto& line : lines) EXPECT_EQ(line.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace pinhole::cli
