// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failures/table.h"

namespace pinhole::failures {
namespace {

using testing::HasSubstr;

constexpr Failure kOne{.code = "one",
                       .symptom = "It stands still.",
                       .message = "{file} is {what}, {what}",
                       .cause = "Somebody did it.",
                       .fix = "mend {file}"};

TEST(Failures, PlaceholdersAreReplacedByWhateverTheirValuesHold) {
  const Error error = told(kOne, {{"file", "a{what}"}, {"what", "{x"}});
  EXPECT_EQ(error.message, "a{what} is {x, {x");
  EXPECT_EQ(error.fix, "mend 'a{what}'");
  EXPECT_EQ(error.code, "one");
  EXPECT_EQ(error.exit_status, 1);
}

TEST(Failures, WordsOfAFixAreQuotedForAShellAndPhrasesAreNot) {
  constexpr Failure kFix{.code = "f",
                         .symptom = "It stands still.",
                         .message = "{file}",
                         .cause = "Somebody did it.",
                         .fix = "{command} {file}"};
  const auto fix = [&](std::string file) {
    const Error error = told(kFix, {{"file", file}, {"command", "sudo rm"}});
    EXPECT_EQ(error.message, file);
    return error.fix;
  };
  EXPECT_EQ(fix("/a/b-c_1.img"), "sudo rm /a/b-c_1.img");
  EXPECT_EQ(fix("my disk.img"), "sudo rm 'my disk.img'");
  EXPECT_EQ(fix("a;$(reboot)"), "sudo rm 'a;$(reboot)'");
  EXPECT_EQ(fix("it's"), R"(sudo rm 'it'\''s')");
  EXPECT_EQ(fix(""), "sudo rm ''");
}

TEST(Failures, NoWordOfAFixStandsInQuotesAlready) {
  for (const Area& area : areas()) {
    for (const Failure* failure : area.failures) {
      for (const std::string_view name : {"file", "folder", "name", "path", "program", "vm"}) {
        const std::size_t at = failure->fix.find(fmt::format("{{{}}}", name));
        if (at == std::string_view::npos || at == 0) continue;
        EXPECT_FALSE(std::string_view("'\"`").contains(failure->fix[at - 1])) << failure->code;
      }
    }
  }
}

TEST(FailuresDeathTest, AMissingOrUnusedValueIsABug) {
  EXPECT_DEATH((void)told(kOne, {{"file", "a"}}), "");
  EXPECT_DEATH((void)told(kOne, {{"file", "a"}, {"what", "b"}, {"more", "c"}}), "");
}

bool placeholders_are_well_formed(std::string_view text) {
  for (std::size_t at = 0; (at = text.find_first_of("{}", at)) != std::string_view::npos;) {
    const std::size_t close = text.find('}', at);
    if (text[at] != '{' || close == std::string_view::npos || close == at + 1) return false;
    if (text.substr(at + 1, close - at - 1).find_first_not_of("abcdefghijklmnopqrstuvwxyz_") !=
        std::string_view::npos)
      return false;
    at = close + 1;
  }
  return true;
}

TEST(Failures, EachIsWholeAndHasACodeOfItsOwn) {
  std::set<std::string_view> codes;
  for (const Area& area : areas()) {
    for (const Failure* failure : area.failures) {
      SCOPED_TRACE(failure->code);
      EXPECT_TRUE(codes.insert(failure->code).second);
      EXPECT_EQ(failure->code.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"),
                std::string_view::npos);
      EXPECT_EQ(find(failure->code), failure);
      for (const std::string_view text : {failure->message, failure->fix})
        EXPECT_TRUE(placeholders_are_well_formed(text)) << text;
      for (const std::string_view text : {failure->symptom, failure->cause})
        EXPECT_TRUE(text.ends_with('.') || text.ends_with('?')) << text;
      EXPECT_FALSE(failure->message.empty() || failure->message.ends_with('.'));
      EXPECT_EQ(failure->message.find('\n'), std::string_view::npos);
      EXPECT_FALSE(failure->fix.empty());
    }
  }
  EXPECT_EQ(find("nosuch"), nullptr);
}

TEST(Failures, ThePageHoldsEachWithItsSymptomAndFix) {
  const std::string page = markdown();
  for (const Area& area : areas()) {
    for (const Failure* failure : area.failures) {
      EXPECT_THAT(page, HasSubstr(fmt::format("### {}\n", failure->code)));
      EXPECT_THAT(page, HasSubstr(failure->symptom));
      EXPECT_THAT(page, HasSubstr(failure->cause));
    }
  }
  EXPECT_THAT(page,
              HasSubstr("pinhole: cannot boot the kernel FILE: it has SIZE bytes and is WHAT"));
  EXPECT_TRUE(page.ends_with("\n") && !page.ends_with("\n\n"));
}

}  // namespace
}  // namespace pinhole::failures
