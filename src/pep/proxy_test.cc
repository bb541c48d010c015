// SPDX-License-Identifier: Apache-2.0
// The proxy with real sockets: who gets through, who does not, and what is left of it in the audit
// log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "audit/verify.h"
#include "pep/harness.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

TEST(Proxy, AllowedRequestIsRebuiltAndAnswered) {
  std::string seen;
  Origin origin(testing::answer_each([&](const std::string& head) {
    seen = head;
    return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: origin\r\nConnection: keep-alive, "
           "X-Hop\r\nX-Hop: 1\r\n\r\nhello";
  }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  const Answer answer = proxy.ask(
      "GET http://origin.test/a%7Eb?q=1 HTTP/1.1\r\nHost: origin.test\r\nX-Mine: "
      "1\r\nProxy-Connection: keep-alive\r\n\r\n");
  EXPECT_EQ(answer.head, "HTTP/1.1 200 OK\r\nX-From: origin\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(answer.body, "hello");
  EXPECT_EQ(seen, "GET /a~b?q=1 HTTP/1.1\r\nHost: origin.test\r\nX-Mine: 1\r\n\r\n");
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(
      audit,
      HasSubstr(
          R"("method":"GET","url":"http://origin.test/a~b?q=*","rule":"policy.yaml:3","action":"allow")"));
  EXPECT_THAT(
      audit, HasSubstr(fmt::format(R"("address":"127.0.0.1:{}","status":200,"sent":0,"received":5)",
                                   origin.port())));
  const auto summary = audit::verify_text(audit).value();
  EXPECT_TRUE(summary.sealed);
  EXPECT_EQ(summary.records, 4U);
}

TEST(Proxy, DeniedRequestIsExplainedAndReachesNobody) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "GET http://origin.test/open/**")});
  const Answer answer = proxy.ask(
      "POST http://origin.test/open/x HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(answer.status(), 403);
  EXPECT_EQ(answer.header("content-type"), "application/problem+json");
  EXPECT_THAT(answer.header("proxy-status"),
              HasSubstr("pinhole; error=http_request_denied; code=denied_by_policy"));
  EXPECT_THAT(
      answer.body,
      HasSubstr(
          R"({"type":"about:blank","title":"denied by policy","status":403,"code":"denied_by_policy")"));
  EXPECT_THAT(answer.body,
              HasSubstr(R"("fix":"pinhole policy explain POST http://origin.test/open/x")"));
  EXPECT_EQ(
      proxy.ask("GET http://origin.test/open/x HTTP/1.1\r\nHost: origin.test\r\n\r\n").status(),
      200);
  EXPECT_EQ(
      proxy.ask("GET http://origin.test/other HTTP/1.1\r\nHost: origin.test\r\n\r\n").status(),
      403);
  EXPECT_EQ(origin.connections(), 1);
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit, HasSubstr(R"("action":"deny","status":403,"code":"denied_by_policy")"));
}

TEST(Proxy, BrowserGetsAPage) {
  Proxy proxy({.policy = "version: 1\n"});
  const Answer answer = proxy.ask(
      "GET http://a.test/<b> HTTP/1.1\r\nHost: a.test\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
  const Answer page = proxy.ask(
      "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
  EXPECT_EQ(page.status(), 403);
  EXPECT_EQ(page.header("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("<h1>Pinhole: denied by policy</h1>"));
  EXPECT_THAT(answer.body, Not(HasSubstr("<b>")));
}

TEST(Proxy, ManyRequestsShareOneConnectionOnBothSides) {
  Origin origin(testing::answer_each(
      [](const std::string& head) { return testing::ok(head.substr(0, head.find(' ', 5))); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  Peer peer = proxy.connect();
  for (int i = 0; i < 20; ++i) {
    peer.send(fmt::format("GET http://origin.test/{} HTTP/1.1\r\nHost: origin.test\r\n\r\n", i));
    EXPECT_EQ(read_answer(peer).body, fmt::format("GET /{}", i));
  }
  EXPECT_EQ(origin.connections(), 1);
}

TEST(Proxy, PipelinedRequestsAreAnsweredInOrder) {
  Origin origin(testing::answer_each(
      [](const std::string& head) { return testing::ok(head.substr(0, head.find(' ', 5))); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  Peer peer = proxy.connect();
  std::string all;
  for (int i = 0; i < 50; ++i) {
    all += fmt::format("GET http://{}.test/{} HTTP/1.1\r\nHost: {}.test\r\n\r\n",
                       i == 7 ? "other" : "origin", i, i == 7 ? "other" : "origin");
  }
  peer.send(all);
  for (int i = 0; i < 50; ++i) {
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), i == 7 ? 403 : 200);
    if (i != 7) EXPECT_EQ(answer.body, fmt::format("GET /{}", i));
  }
}

TEST(Proxy, NameOfALoopbackAddressIsBlockedUnlessInternalSaysSo) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy({.policy = fmt::format(
                   "version: 1\negress: {{allow: [\"localhost:{}\", \"169.254.169.254\"]}}\n",
                   origin.port())});
  const Answer answer = proxy.ask(fmt::format(
      "GET http://localhost:{0}/ HTTP/1.1\r\nHost: localhost:{0}\r\n\r\n", origin.port()));
  EXPECT_EQ(answer.status(), 403);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"ssrf_blocked")"));
  EXPECT_THAT(answer.body, HasSubstr("loopback"));
  const Answer metadata =
      proxy.ask("GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
  EXPECT_THAT(metadata.body, HasSubstr(R"("code":"ssrf_blocked")"));
  EXPECT_EQ(origin.connections(), 0);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("code":"ssrf_blocked")"));

  Proxy with_internal({.policy = fmt::format("version: 1\negress: {{allow: [\"localhost:{0}\"]}}\n"
                                             "internal: [\"localhost:{0} -> 127.0.0.1:{0}\"]\n",
                                             origin.port())});
  EXPECT_EQ(
      with_internal
          .ask(fmt::format("GET http://localhost:{0}/ HTTP/1.1\r\nHost: localhost:{0}\r\n\r\n",
                           origin.port()))
          .status(),
      200);
}

TEST(Proxy, NameThatDoesNotExistIsADnsError) {
  Proxy proxy({.policy = "version: 1\negress: {allow: [nowhere.invalid]}\n"});
  const Answer answer =
      proxy.ask("GET http://nowhere.invalid/ HTTP/1.1\r\nHost: nowhere.invalid\r\n\r\n");
  EXPECT_THAT(answer.status(), ::testing::AnyOf(502, 504));
}

TEST(Proxy, WithoutAnAuditRecordNothingIsSent) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test"), .audit = "/dev/full"});
  const Answer answer = proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(answer.status(), 503);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"audit_unavailable")"));
  const Answer denied = proxy.ask("GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n");
  EXPECT_THAT(denied.body, HasSubstr(R"("code":"audit_unavailable")"));
  EXPECT_EQ(origin.connections(), 0);
}

TEST(Proxy, CanaryIsReachedOnlyByItsName) {
  Proxy proxy({.policy = "version: 1\n", .canary = true});
  const Answer answer = proxy.ask(
      "GET http://canary.pinhole.internal/n0nce HTTP/1.1\r\nHost: canary.pinhole.internal\r\n\r\n");
  EXPECT_EQ(answer.status(), 200);
  EXPECT_EQ(answer.body, "pinhole canary\n");
  const std::string direct = fmt::format("127.0.0.1:{}", proxy.canary_port());
  EXPECT_EQ(
      proxy.ask(fmt::format("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", direct)).status(),
      403);
  EXPECT_EQ(proxy
                .ask("POST http://canary.pinhole.internal/ HTTP/1.1\r\nHost: "
                     "canary.pinhole.internal\r\nContent-Length: 0\r\n\r\n")
                .status(),
            403);
  EXPECT_EQ(proxy.ask("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").status(), 403);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("rule":"builtin:canary","action":"allow")"));
}

TEST(Proxy, SmuggledRequestsAreRefusedAndTheConnectionEnds) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  const std::string start = "POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n";
  const std::string inner = "GET http://origin.test/secret HTTP/1.1\r\nHost: origin.test\r\n\r\n";
  for (const std::string& fields :
       {std::string("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        std::string("Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"),
        std::string("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        std::string("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        std::string("Host: other.test\r\n\r\n"), std::string("X: a\r\n b\r\n\r\n"),
        std::string("X: a\nY: b\r\n\r\n")}) {
    Peer peer = proxy.connect();
    peer.send(start + fields + inner);
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), 400) << fields;
    EXPECT_TRUE(peer.at_end()) << fields;
  }
  EXPECT_EQ(origin.connections(), 0);
  EXPECT_EQ(proxy.ask(start + "Content-Length: 4\r\n\r\nabcd").status(), 200);
}

TEST(Proxy, HeadersOverTheLimitAreRefusedWith431) {
  Proxy proxy({.policy = "version: 1\nlimits: {header_bytes: 4KiB}\n"});
  const Answer answer = proxy.ask(
      "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX: " + std::string(5000, 'x') + "\r\n\r\n");
  EXPECT_EQ(answer.status(), 431);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"constraint_violation")"));
}

TEST(Proxy, ConnectionsOverTheLimitTakeThePlaceOfIdleOnes) {
  Proxy proxy({.policy = "version: 1\nlimits: {connections: 2}\n",
               .times = {.tick = milliseconds(10)},
               .canary = true});
  const std::string request =
      "GET http://canary.pinhole.internal/ HTTP/1.1\r\nHost: canary.pinhole.internal\r\n\r\n";
  std::vector<Peer> peers;
  for (int i = 0; i < 6; ++i) {
    peers.push_back(proxy.connect());
    peers.back().send(request);
    EXPECT_EQ(read_answer(peers.back()).status(), 200);
    EXPECT_LE(proxy.sessions(), 2U);
  }
  EXPECT_TRUE(peers.front().at_end());
}

TEST(Proxy, UpstreamConnectErrorIsSaid) {
  std::uint16_t free_port = 0;
  {
    Origin gone([](Peer&) {});
    free_port = gone.port();
  }
  Proxy proxy({.policy = testing::policy_for(free_port, "origin.test")});
  const Answer answer = proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(answer.status(), 502);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"connect_error")"));
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("status":502)"));
}

TEST(Proxy, EndsInOrderWithRunningExchangesCutAfterTheGrace) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test"),
               .times = {.grace = milliseconds(100)}});
  Peer peer = proxy.connect();
  peer.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  while (origin.connections() == 0) std::this_thread::yield();
  const std::string audit = proxy.audit_text();
  EXPECT_TRUE(audit::verify_text(audit).value().sealed);
  EXPECT_THAT(audit, HasSubstr(R"("kind":"end")"));
}

}  // namespace
}  // namespace pinhole::pep
