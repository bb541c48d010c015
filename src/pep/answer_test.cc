// SPDX-License-Identifier: Apache-2.0
// The command that a refusal names, with texts that a guest chose.
#include "pep/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/harness.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::pep {
namespace {

using ::testing::HasSubstr;

TEST(ExplainCommand, IsTheUsersToCopy) {
  EXPECT_EQ(explain_command("POST", "https://api.github.com/gists"),
            "pinhole policy explain POST https://api.github.com/gists");
  EXPECT_EQ(explain_command("CONNECT", "a.test:443"), "pinhole policy explain CONNECT a.test:443");
  EXPECT_EQ(explain_command("M-SEARCH", "http://a.test/%41~b"),
            "pinhole policy explain M-SEARCH 'http://a.test/%41~b'");
  EXPECT_EQ(explain_command("GET", "http://a.test/" + std::string(2000, 'a')), "");
}

TEST(ExplainCommand, IsTheSameWordsAfterAShell) {
  for (const std::string target :
       {"http://a.test/$(id)`id`;id&id|id>x<y", "http://a.test/'$(id)'", "http://a.test/''",
        "http://a.test/!id*?[a]{b}\\", "http://[::1]/", "http://a.test/#x \"y\""}) {
    for (const std::string method : {"GET", "`ID`", "$'A", "!"}) {
      sys::Command shell{.program = sys::find_program("sh").value(),
                         .args = {"-c", "pinhole() { printf '%s\\n' \"$@\"; }; " +
                                            explain_command(method, target)}};
      const auto said = sys::run(std::move(shell), {.time = std::chrono::seconds(20)}).value();
      EXPECT_EQ(said.out, "policy\nexplain\n" + method + "\n" + target + "\n");
      EXPECT_EQ(said.err, "");
    }
  }
}

TEST(ExplainCommand, NamesTheMethodThatWasRefused) {
  testing::Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  testing::Proxy proxy({.policy = testing::policy_for(origin.port(), "\"GET,POST origin.test\"")});
  const auto ask = [&](const std::string& method) {
    return proxy.ask(
        "POST http://origin.test/a'b HTTP/1.1\r\nHost: origin.test\r\n"
        "Content-Length: 0\r\nX-HTTP-Method-Override: " +
        method + "\r\n\r\n");
  };
  EXPECT_EQ(ask("GET").status(), 200);
  EXPECT_THAT(ask("DELETE").body,
              HasSubstr(R"("fix":"pinhole policy explain DELETE 'http://origin.test/a'\\''b'")"));
}

TEST(ExplainCommand, GivesWayToAQuestionToTheLogWhereItWouldBeTooLong) {
  testing::Proxy proxy({.policy = "version: 1\n"});
  const auto ask = [&](std::size_t length) {
    return proxy.ask("GET http://a.test/" + std::string(length, 'a') +
                     " HTTP/1.1\r\nHost: a.test\r\n\r\n");
  };
  EXPECT_THAT(ask(100).body, HasSubstr(R"("fix":"pinhole policy explain GET http://a.test/aaa)"));
  EXPECT_THAT(ask(3000).body,
              HasSubstr(R"("fix":"pinhole audit query --code denied_by_policy --host a.test")"));
}

}  // namespace
}  // namespace pinhole::pep
