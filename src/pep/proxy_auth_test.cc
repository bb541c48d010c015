// SPDX-License-Identifier: Apache-2.0
#include "pep/proxy_auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include "base/strings.h"
#include "pep/harness.h"
#include "sys/files.h"

namespace pinhole::pep {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kToken = "0123456789abcdef";

bool shown(std::vector<http::Header> headers) {
  return ProxyToken::make(kToken).value().is_shown_by(headers);
}

TEST(ProxyToken, IsShownByBasicAndBearer) {
  // printf 'x:0123456789abcdef' | base64
  EXPECT_TRUE(shown({{"Proxy-Authorization", "Basic eDowMTIzNDU2Nzg5YWJjZGVm"}}));
  EXPECT_TRUE(shown({{"proxy-authorization", "basic  eDowMTIzNDU2Nzg5YWJjZGVm"}}));
  EXPECT_TRUE(shown({{"Proxy-Authorization", "Basic OjAxMjM0NTY3ODlhYmNkZWY="}}));  // no user
  EXPECT_TRUE(shown({{"Host", "a"}, {"Proxy-Authorization", "Bearer 0123456789abcdef"}}));
}

TEST(ProxyToken, NothingElseShowsIt) {
  EXPECT_FALSE(shown({}));
  EXPECT_FALSE(shown({{"Authorization", "Bearer 0123456789abcdef"}}));
  for (const char* value :
       {"", "Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0", "Bearer0123456789abcdef", "Digest 0123456789abcdef",
        "0123456789abcdef", "Basic 0123456789abcdef", "Basic eDoxMTIzNDU2Nzg5YWJjZGVm",
        "Basic MDEyMzQ1Njc4OWFiY2RlZg==",  // without a colon
        "Basic eDowMTIzNDU2Nzg5YWJjZGVmCg==", "Basic !"}) {
    EXPECT_FALSE(shown({{"Proxy-Authorization", value}})) << value;
  }
  // Twice is two ways to read it.
  EXPECT_FALSE(shown({{"Proxy-Authorization", "Bearer 0123456789abcdef"},
                      {"Proxy-Authorization", "Bearer 0123456789abcdef"}}));
}

class TokenFile : public ::testing::Test {
 protected:
  std::filesystem::path file(std::string_view content, int mode = 0600) {
    const auto path = folder_.path() / "token";
    EXPECT_TRUE(sys::write_file_atomic(path, content, 0600));
    std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));  // no umask
    return path;
  }
  std::string refusal(const std::filesystem::path& path) {
    const auto token = ProxyToken::read(path);
    if (token) return "taken";
    EXPECT_FALSE(token.error().fix.empty());
    const std::string prefix = "the token file " + path.string() + " ";
    EXPECT_TRUE(token.error().message.starts_with(prefix)) << token.error().message;
    return token.error().message.substr(prefix.size());
  }

  sys::TempDir folder_ = sys::TempDir::make().value();
};

TEST_F(TokenFile, IsReadWithoutItsLineEnd) {
  for (const char* text : {"0123456789abcdef", "0123456789abcdef\n", "0123456789abcdef\r\n"}) {
    const auto token = ProxyToken::read(file(text));
    ASSERT_TRUE(token) << token.error().message;
    EXPECT_TRUE(token->is_shown_by(
        std::vector<http::Header>{{"Proxy-Authorization", "Bearer 0123456789abcdef"}}));
  }
  EXPECT_EQ(refusal(file(std::string(1024, 'x') + "\r\n", 0400)), "taken");
}

TEST_F(TokenFile, ThatCannotBeTrustedIsRefusedWithTheWayOut) {
  EXPECT_EQ(refusal(folder_.path() / "none"), "cannot be opened: No such file or directory");
  EXPECT_EQ(refusal(file(kToken, 0640)), "may be opened by others (mode 0640)");
  EXPECT_EQ(refusal(file(kToken, 0602)), "may be opened by others (mode 0602)");
  EXPECT_THAT(ProxyToken::read(file(kToken, 0644)).error().fix,
              HasSubstr("chmod 600 " + (folder_.path() / "token").string()));
  EXPECT_EQ(refusal(file("0123456789abcde\n")), "holds a token of 15 bytes, and needs 16");
  EXPECT_EQ(refusal(file("")), "holds a token of 0 bytes, and needs 16");
  EXPECT_EQ(refusal(file(std::string(1025, 'x'))), "holds more than 1024 bytes");
  EXPECT_EQ(refusal(file(std::string(1 << 20, 'x'))), "holds more than 1024 bytes");
  const char* lines = "holds more than one line of printable ASCII without blanks";
  EXPECT_EQ(refusal(file("0123456789abcdef\n\n")), lines);
  EXPECT_EQ(refusal(file("0123456789 abcdef")), lines);
  EXPECT_EQ(refusal(file("0123456789\x80"
                         "abcdef")),
            lines);
  EXPECT_EQ(refusal(folder_.path()), "is not a regular file");
  ASSERT_EQ(::mkfifo((folder_.path() / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(refusal(folder_.path() / "fifo"), "is not a regular file");
}

constexpr std::string_view kShown = "Proxy-Authorization: Bearer 0123456789abcdef\r\n";

std::string get(std::string_view path, std::string_view more = "") {
  return fmt::format("GET http://origin.test{} HTTP/1.1\r\nHost: origin.test\r\n{}\r\n", path,
                     more);
}

TEST(ProxyWithAToken, AsksForItAndGoesOnWithTheConnection) {
  std::string seen;
  testing::Origin origin(testing::answer_each([&](const std::string& head) {
    seen += head;
    return testing::ok("hello");
  }));
  testing::Proxy proxy(
      {.policy = testing::policy_for(origin.port(), "origin.test"), .token = std::string(kToken)});
  testing::Peer peer = proxy.connect();
  peer.send(get("/a"));
  const Answer asked = read_answer(peer);
  EXPECT_EQ(asked.status(), 407);
  EXPECT_EQ(asked.header("proxy-authenticate"), "Basic realm=\"pinhole\"");
  EXPECT_THAT(asked.header("proxy-status"), HasSubstr("code=proxy_authentication_required"));
  EXPECT_EQ(asked.header("connection"), "");
  EXPECT_THAT(asked.body, HasSubstr(R"("code":"proxy_authentication_required")"));
  EXPECT_EQ(origin.connections(), 0);

  peer.send(get("/b", kShown));
  EXPECT_EQ(read_answer(peer).body, "hello");
  peer.send(get("/c"));  // each request for itself
  EXPECT_EQ(read_answer(peer).status(), 407);
  EXPECT_EQ(seen, "GET /b HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit, HasSubstr(R"("action":"deny","status":407,)"
                               R"("code":"proxy_authentication_required")"));
  EXPECT_THAT(audit, Not(HasSubstr("origin.test/a")));  // not a word of a stranger's
  EXPECT_THAT(audit, Not(HasSubstr(std::string(kToken))));
}

TEST(ProxyWithAToken, StrangersRequestsAreOneKindInTheLog) {
  testing::Proxy proxy({.policy = "version: 1\n", .token = std::string(kToken)});
  testing::Peer peer = proxy.connect();
  for (int i = 0; i < 100; ++i) {
    peer.send(get(fmt::format("/{}", i)));
    EXPECT_EQ(read_answer(peer).status(), 407);
  }
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit, HasSubstr(R"("kind":"denied-coalesced")"));
  EXPECT_LT(split(audit, '\n').size(), 30U);
}

TEST(ProxyWithAToken, ConnectNeedsItAndWhatIsInsideDoesNot) {
  std::string seen;
  testing::Origin origin(testing::answer_each([&](const std::string& head) {
    seen = head;
    return testing::ok("hello");
  }));
  testing::Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test"),
                        .authority = true,
                        .token = std::string(kToken)});
  testing::Peer peer = proxy.connect();
  const std::string connect = "CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n";
  peer.send(connect + "\r\n");
  EXPECT_EQ(read_answer(peer).status(), 407);
  peer.send(connect + std::string(kShown) + "\r\n");
  EXPECT_TRUE(peer.read_until("\r\n\r\n").starts_with("HTTP/1.1 200 "));
  peer.send("GET /inside HTTP/1.1\r\nHost: origin.test\r\n" + std::string(kShown) + "\r\n");
  EXPECT_EQ(read_answer(peer).body, "hello");
  EXPECT_EQ(seen, "GET /inside HTTP/1.1\r\nHost: origin.test\r\n\r\n");
}

TEST(ProxyWithAToken, WhatIsNoRequestToAProxyIsRefused) {
  testing::Proxy proxy({.policy = "version: 1\n", .authority = true, .token = std::string(kToken)});
  for (const std::string& first :
       {testing::client_hello("origin.test"), std::string("\x05\x01\x00", 3) + "\r\n\r\n",
        std::string("GET / HTTP/1.1\r\nHost: 127.0.0.1:3128\r\n\r\n")}) {
    testing::Peer peer = proxy.connect();
    peer.send(first);
    peer.half_close();
    const std::string answer = peer.read_all();
    EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 400 ")) << answer;
  }
}

}  // namespace
}  // namespace pinhole::pep
