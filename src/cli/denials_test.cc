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

TEST(Denials, OfARunNameTheFlagTheProgramsAndWhatElseHelps) {
  const std::vector<audit::DeniedGroup> groups{{.host = "a.test",
                                                .code = "denied_by_policy",
                                                .rule = "default",
                                                .count = 2,
                                                .allow = "allow:  - GET https://a.test/x",
                                                .port = 443,
                                                .flag = "--allow a.test",
                                                .programs = {"curl", "p\x1bp"}},
                                               {.host = "2001:db8::1",
                                                .code = "denied_by_policy",
                                                .rule = "p.yaml:7",
                                                .count = 1,
                                                .allow = "narrow the rule at p.yaml:7",
                                                .port = 22,
                                                .advice = "git over https"}};
  EXPECT_THAT(
      denial_lines(groups, 10, Suggest::flag),
      ElementsAre("refused at the door: 3",
                  "       2  a.test                           denied_by_policy   --allow "
                  "a.test  (by curl, p\\x1bp)",
                  "       1  [2001:db8::1]:22                 denied_by_policy   narrow the "
                  "rule at p.yaml:7",
                  "          git over https"));
  const boost::json::object first = denials_json(groups).at(0).as_object();
  EXPECT_EQ(first.at("port"), 443);
  EXPECT_EQ(first.at("flag"), "--allow a.test");
  EXPECT_EQ(first.at("programs"), (boost::json::array{"curl", "p\x1bp"}));
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
