// SPDX-License-Identifier: Apache-2.0
// upstream_proxy: another HTTP proxy makes the connections, and resolves the names.
#include "pep/upstream_proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "pep/harness.h"

namespace pinhole::pep {
namespace {

using ::testing::HasSubstr;
using testing::Peer;
using testing::Proxy;

/// Keeps what it is asked and answers with what the test says.
class Upstream {
 public:
  explicit Upstream(std::string answer)
      : answer_(std::move(answer)), listener_([this](Peer& peer) { serve(peer); }) {}

  [[nodiscard]] std::string policy(std::string_view allow, std::string_view more = "") const {
    return fmt::format("upstream_proxy: http://127.0.0.1:{}\negress: {{allow: [{}]}}\n{}",
                       listener_.port(), allow, more);
  }
  std::string seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  [[nodiscard]] int connections() const { return listener_.connections(); }

 private:
  void serve(Peer& peer) {
    while (true) {
      const std::string head = peer.read_until("\r\n\r\n");
      if (head.empty()) return;
      {
        const std::lock_guard lock(mutex_);
        seen_ += head;
      }
      peer.send(answer_);
      if (!head.starts_with("CONNECT")) continue;
      const std::string first = peer.read_exactly(1);
      const std::lock_guard lock(mutex_);
      seen_ += first == "\x16" ? "then TLS" : "then " + first;
      return;
    }
  }

  std::string answer_;
  std::mutex mutex_;
  std::string seen_;
  testing::Origin listener_;  // last: its threads use the others
};

TEST(UpstreamProxy, IsAskedForHttpInAbsoluteForm) {
  Upstream upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  Proxy proxy({.policy = upstream.policy("never.test")});
  const auto answer =
      proxy.ask("GET http://never.test/a/b?q=1 HTTP/1.1\r\nHost: never.test\r\n\r\n");
  EXPECT_EQ(answer.status(), 200);
  EXPECT_EQ(answer.body, "hi");
  EXPECT_THAT(upstream.seen(), ::testing::StartsWith("GET http://never.test:80/a/b?q=1 HTTP/1.1"));
  EXPECT_THAT(upstream.seen(), HasSubstr("\r\nHost: never.test\r\n"));
}

TEST(UpstreamProxy, IsAskedForHttpsByConnectWithTlsInside) {
  Upstream upstream("HTTP/1.1 200 OK\r\nX-Own: header\r\n\r\n");
  Proxy proxy({.policy = upstream.policy("never.test")});
  const auto answer = proxy.ask(
      "GET https://never.test/a HTTP/1.1\r\nHost: never.test\r\nAuthorization: Basic c2VjcmV0\r\n"
      "\r\n");
  EXPECT_EQ(answer.status(), 502);  // nobody speaks TLS there
  EXPECT_THAT(upstream.seen(), ::testing::StartsWith("CONNECT never.test:443 HTTP/1.1\r\n"));
  EXPECT_THAT(upstream.seen(), HasSubstr("then TLS"));
  EXPECT_EQ(upstream.seen().find("Authorization"), std::string::npos);
  EXPECT_EQ(answer.head.find("X-Own"), std::string::npos);
}

TEST(UpstreamProxy, ThatRefusesIsAnError) {
  Upstream upstream("HTTP/1.1 403 Forbidden by them\r\nContent-Length: 0\r\n\r\n");
  Proxy proxy({.policy = upstream.policy("never.test, {host: pinned.test, tls: tunnel}")});
  const auto https = proxy.ask("GET https://never.test/ HTTP/1.1\r\nHost: never.test\r\n\r\n");
  EXPECT_EQ(https.status(), 502);
  const auto tunnel =
      proxy.ask("CONNECT pinned.test:443 HTTP/1.1\r\nHost: pinned.test:443\r\n\r\n");
  EXPECT_EQ(tunnel.status(), 502);
  EXPECT_THAT(tunnel.body, HasSubstr("the upstream proxy refuses: HTTP/1.1 403 Forbidden by them"));
}

TEST(UpstreamProxy, CarriesTunnels) {
  Upstream upstream("HTTP/1.1 200 Connection established\r\n\r\n");
  Proxy proxy({.policy = upstream.policy("{host: pinned.test, tls: tunnel}")});
  Peer peer = proxy.connect();
  peer.send("CONNECT pinned.test:443 HTTP/1.1\r\nHost: pinned.test:443\r\n\r\n");
  EXPECT_EQ(peer.read_until("\r\n\r\n"), "HTTP/1.1 200 Connection established\r\n\r\n");
  peer.send(testing::client_hello("pinned.test"));
  EXPECT_TRUE(peer.at_end());  // after one byte it has seen enough
  EXPECT_EQ(upstream.seen(),
            "CONNECT pinned.test:443 HTTP/1.1\r\nHost: pinned.test:443\r\n\r\nthen TLS");
}

TEST(UpstreamProxy, IsPassedByForInternalHostsAndNeverAskedForPatternsOrAddresses) {
  Upstream upstream("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  testing::Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect");
  });
  Proxy proxy(
      {.policy = upstream.policy(
           "origin.test, \"*.wild.test\", 10.0.0.1",
           fmt::format("internal: [\"origin.test:80 -> 127.0.0.1:{}\"]\n", origin.port()))});
  const auto ask = [&](std::string_view host) {
    return proxy.ask(fmt::format("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", host));
  };
  EXPECT_EQ(ask("origin.test").body, "direct");
  EXPECT_THAT(ask("a.wild.test").body, HasSubstr("allows nothing with an upstream_proxy"));
  EXPECT_THAT(ask("10.0.0.1").body, HasSubstr("ssrf_blocked"));
  EXPECT_EQ(upstream.connections(), 0);
}

}  // namespace
}  // namespace pinhole::pep
