// SPDX-License-Identifier: Apache-2.0
// CONNECT: bytes both ways, and the name inside that must be the name outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/harness.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using testing::Answer;
using ::testing::HasSubstr;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

TEST(TunnelTest, CarriesBytesBothWaysWithHalfClose) {
  const std::string hello = testing::client_hello("origin.test");
  Origin origin([&](Peer& peer) {
    const std::string seen = peer.read_all();  // to the guest's end of stream
    peer.send("seen " + std::to_string(seen.size()));
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  Peer peer = proxy.connect();
  peer.send("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n" +
            hello.substr(0, 20));
  EXPECT_EQ(peer.read_until("\r\n\r\n"), "HTTP/1.1 200 Connection established\r\n\r\n");
  peer.send(hello.substr(20));
  peer.send("and more");
  peer.half_close();
  EXPECT_EQ(peer.read_all(), "seen " + std::to_string(hello.size() + 8));
  EXPECT_THAT(proxy.audit_text(),
              HasSubstr(fmt::format(R"("status":200,"sent":{},"received":)", hello.size() + 8)));
}

TEST(TunnelTest, WithAnotherNameInsideIsRefused) {
  std::atomic<int> bytes = 0;
  Origin origin([&](Peer& peer) { bytes += static_cast<int>(peer.read_all().size()); });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test"),
               .times = {.client_hello = milliseconds(200), .tick = milliseconds(10)}});
  struct Case {
    std::string first_bytes;
    std::string alert;
  };
  for (const auto& [first_bytes, alert] :
       {Case{testing::client_hello("other.test"), "\x70"}, Case{testing::client_hello(""), "\x70"},
        Case{testing::client_hello("origin.test", true), "\x31"},
        Case{"GET / HTTP/1.1\r\n\r\n", "\x32"}}) {
    Peer peer = proxy.connect();
    peer.send("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
    peer.read_until("\r\n\r\n");
    peer.send(first_bytes);
    EXPECT_EQ(peer.read_all(), std::string("\x15\x03\x03\0\x02\x02", 6) + alert);
  }
  Peer silent = proxy.connect();
  silent.send("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
  silent.read_until("\r\n\r\n");
  EXPECT_TRUE(silent.at_end());
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit,
              HasSubstr(R"("code":"denied_by_policy","note":"the ClientHello names other.test")"));
  EXPECT_THAT(audit, HasSubstr(R"("code":"ech_not_allowed")"));
  EXPECT_EQ(bytes, 0);
}

TEST(TunnelTest, ConnectIsRefusedWhereRulesLookInside) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "GET https://origin.test/a")});
  const Answer answer =
      proxy.ask("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
  EXPECT_EQ(answer.status(), 403);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"denied_by_policy")"));
  EXPECT_EQ(proxy.ask("CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n").status(),
            403);
  EXPECT_EQ(origin.connections(), 0);
}

TEST(TunnelTest, RawRuleCarriesAnythingOnItsPortAlone) {
  Origin origin([](Peer& peer) {
    peer.send("220 the server speaks first\r\n");
    peer.send("got " + peer.read_exactly(5));
  });
  Proxy proxy({.policy = fmt::format("version: 1\negress: {{allow: [\"tcp://db.test:5432\"]}}\n"
                                     "internal: [\"db.test:5432 -> 127.0.0.1:{0}\", "
                                     "\"db.test:5433 -> 127.0.0.1:{0}\"]\n",
                                     origin.port()),
               .authority = true});
  Peer peer = proxy.connect();
  peer.send("CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n");
  EXPECT_EQ(peer.read_until("\r\n\r\n"), "HTTP/1.1 200 Connection established\r\n\r\n");
  EXPECT_EQ(peer.read_until("\r\n"), "220 the server speaks first\r\n");
  peer.send("\x16\x03\x01\x02\x03");
  EXPECT_EQ(peer.read_exactly(9), "got \x16\x03\x01\x02\x03");
  const Answer other = proxy.ask("CONNECT db.test:5433 HTTP/1.1\r\nHost: db.test:5433\r\n\r\n");
  EXPECT_EQ(other.status(), 403);
  EXPECT_EQ(origin.connections(), 1);
  EXPECT_THAT(proxy.audit_text(),
              HasSubstr(R"("url":"db.test:5432","rule":"policy.yaml:2","action":"raw")"));
}

TEST(TunnelTest, TunnelRuleIsNotLookedIntoEvenWithAnAuthority) {
  const std::string hello = testing::client_hello("origin.test");
  Origin origin([&](Peer& peer) { peer.send(peer.read_exactly(hello.size())); });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "{host: origin.test, tls: tunnel}"),
               .authority = true});
  Peer peer = proxy.connect();
  peer.send("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n" + hello);
  EXPECT_EQ(peer.read_until("\r\n\r\n"), "HTTP/1.1 200 Connection established\r\n\r\n");
  EXPECT_EQ(peer.read_exactly(hello.size()), hello);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("action":"tunnel")"));
}

}  // namespace
}  // namespace pinhole::pep
