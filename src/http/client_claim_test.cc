// SPDX-License-Identifier: Apache-2.0
#include "http/client_claim.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

TEST(ClientClaim, IsReadInAnyOrderAndInPart) {
  EXPECT_EQ(parse_client_claim(R"(program="curl"; uid=1000; pid=123)"),
            (ClientClaim{.program = "curl", .uid = 1000, .pid = 123}));
  EXPECT_EQ(parse_client_claim(R"(pid=1;uid=0;program="a\"b\\c;uid=7")"),
            (ClientClaim{.program = R"(a"b\c;uid=7)", .uid = 0, .pid = 1}));
  EXPECT_EQ(parse_client_claim("uid=4294967295"), (ClientClaim{.program = "", .uid = 4294967295}));
  EXPECT_EQ(parse_client_claim(R"(program="")"), ClientClaim());
  EXPECT_EQ(parse_client_claim("program=\"" + std::string(kLongestProgramName, 'x') + "\""),
            (ClientClaim{.program = std::string(kLongestProgramName, 'x')}));
}

TEST(ClientClaim, IsIgnoredWhereItIsNotExactlyThat) {
  for (const std::string& text : {
           std::string(),
           std::string("curl"),
           std::string("program=curl"),
           std::string(R"(program="curl)"),
           std::string(R"(program="cu\rl")"),
           std::string("program=\"cu\trl\""),
           std::string("program=\"cürl\""),
           std::string("program=\"cu\0rl\"", 14),
           std::string(R"(program="a"; program="b")"),
           std::string("uid=1; uid=1"),
           std::string("uid=-1"),
           std::string("uid=01"),
           std::string("uid=4294967296"),
           std::string("uid=99999999999999999999"),
           std::string("uid=1.5"),
           std::string("uid="),
           std::string("uid = 1"),
           std::string("uid=1 ;pid=1"),
           std::string("uid=1;"),
           std::string(";uid=1"),
           std::string("uid=1, pid=1"),
           std::string("UID=1"),
           std::string("gid=1"),
           std::string("uid=1; gid=1"),
           "program=\"" + std::string(kLongestProgramName + 1, 'x') + "\"",
           "uid=1;" + std::string(kLongestClientClaim, ' ') + "pid=1",
       }) {
    EXPECT_FALSE(parse_client_claim(text)) << text;
  }
}

TEST(ClientClaim, OfARequestIsOneFieldAlone) {
  const Header claim{"PINHOLE-Client", "uid=1"};
  EXPECT_EQ(client_claim(std::vector<Header>{{"Accept", "*/*"}, claim}), (ClientClaim{"", 1}));
  EXPECT_FALSE(client_claim(std::vector<Header>{{"Accept", "uid=1"}}));
  EXPECT_FALSE(client_claim(std::vector<Header>{claim, claim}));
}

}  // namespace
}  // namespace pinhole::http
