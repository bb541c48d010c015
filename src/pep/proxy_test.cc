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

/// `egress` lines, with origin.test leading to `port` on loopback.
std::string policy_for(std::uint16_t port, std::string_view allow, std::string_view more = "") {
  return fmt::format(
      "version: 1\negress:\n  allow: [{0}]\n"
      "internal: [\"origin.test:80 -> 127.0.0.1:{1}\", \"origin.test:443 -> 127.0.0.1:{1}\"]\n{2}",
      allow, port, more);
}

TEST(Proxy, AllowedRequestIsRebuiltAndAnswered) {
  std::string seen;
  Origin origin(testing::answer_each([&](const std::string& head) {
    seen = head;
    return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: origin\r\nConnection: keep-alive, "
           "X-Hop\r\nX-Hop: 1\r\n\r\nhello";
  }));
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
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
  Proxy proxy({.policy = policy_for(origin.port(), "GET http://origin.test/open/**")});
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
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
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
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
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
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test"), .audit = "/dev/full"});
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
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
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
  Proxy proxy({.policy = policy_for(free_port, "origin.test")});
  const Answer answer = proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(answer.status(), 502);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"connect_error")"));
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("status":502)"));
}

TEST(Proxy, RequestBodiesArriveWholeInBothFramings) {
  Origin origin([](Peer& peer) {
    while (true) {
      const std::string head = peer.read_until("\r\n\r\n");
      if (head.empty()) return;
      std::string body;
      if (head.find("Transfer-Encoding: chunked") != std::string::npos) {
        for (std::string line = peer.read_until("\r\n"); line != "0\r\n";
             line = peer.read_until("\r\n")) {
          body += peer.read_exactly(std::stoul(line, nullptr, 16));
          peer.read_exactly(2);
        }
        peer.read_until("\r\n");
      } else {
        const std::size_t at = head.find("Content-Length: ");
        body = peer.read_exactly(std::stoul(head.substr(at + 16)));
      }
      peer.send(testing::ok(body));
    }
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
  Peer peer = proxy.connect();
  const std::string start = "POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n";
  peer.send(start + "Content-Length: 5\r\n\r\nhello");
  EXPECT_EQ(read_answer(peer).body, "hello");
  peer.send(start + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(read_answer(peer).body, "abcde");
  peer.send(start + "Content-Length: 0\r\n\r\n");
  EXPECT_EQ(read_answer(peer).body, "");
  peer.send(start + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(read_answer(peer).head, "HTTP/1.1 100 Continue\r\n\r\n");
  peer.send("xyz");
  EXPECT_EQ(read_answer(peer).body, "xyz");
  EXPECT_EQ(origin.connections(), 1);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("status":200,"sent":5,"received":5)"));
}

TEST(Proxy, RequestBodyOverTheLimitIsRefused) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  Proxy proxy(
      {.policy = policy_for(origin.port(), "origin.test", "limits: {request_body: 1KiB}\n")});
  const std::string start = "POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n";
  const Answer declared = proxy.ask(start + "Content-Length: 1025\r\n\r\n");
  EXPECT_EQ(declared.status(), 413);
  EXPECT_EQ(origin.connections(), 0);
  const Answer counted = proxy.ask(start + "Transfer-Encoding: chunked\r\n\r\n500\r\n" +
                                   std::string(0x500, 'x') + "\r\n0\r\n\r\n");
  EXPECT_EQ(counted.status(), 413);
  EXPECT_THAT(counted.body, HasSubstr(R"("code":"constraint_violation")"));
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("code":"constraint_violation")"));
}

TEST(Proxy, AnswerBodyOverTheLimitIsRefusedOrCut) {
  Origin origin(testing::answer_each([](const std::string& head) {
    const std::string body(2000, 'x');
    if (head.starts_with("GET /declared")) return testing::ok(body);
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + body + "\r\n0\r\n\r\n";
  }));
  Proxy proxy(
      {.policy = policy_for(origin.port(), "origin.test", "limits: {response_body: 1KiB}\n")});
  const Answer declared =
      proxy.ask("GET http://origin.test/declared HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(declared.status(), 502);
  EXPECT_THAT(declared.body, HasSubstr(R"("code":"constraint_violation")"));
  const Answer counted =
      proxy.ask("GET http://origin.test/counted HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(counted.status(), 200);
  EXPECT_FALSE(counted.whole);
}

TEST(Proxy, TruncatedAnswerIsCutNeverFinished) {
  Origin origin([](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.starts_with("GET /length"))
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    if (head.starts_with("GET /chunked"))
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    if (head.starts_with("GET /head")) peer.send("HTTP/1.1 200 OK\r\nContent-Le");
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
  for (const std::string path : {"length", "chunked"}) {
    Peer peer = proxy.connect();
    peer.send("GET http://origin.test/" + path + " HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.body, "half") << path;
    EXPECT_FALSE(answer.whole) << path;
    EXPECT_TRUE(peer.at_end()) << path;
  }
  for (const std::string path : {"head", "nothing"}) {
    const Answer none =
        proxy.ask("GET http://origin.test/" + path + " HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    EXPECT_EQ(none.status(), 502) << path;
    EXPECT_THAT(none.body, HasSubstr(R"("code":"upstream_error")")) << path;
  }
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("status":200,"sent":0,"received":4)"));
}

TEST(Proxy, BrokenAnswersBecomeUpstreamErrors) {
  std::string answer_text;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send(answer_text);
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
  for (const std::string_view text :
       {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "hello\r\n\r\n",
        "HTTP/1.1 99 X\r\n\r\n"}) {
    answer_text = text;
    const Answer answer =
        proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    EXPECT_EQ(answer.status(), 502) << text;
    EXPECT_THAT(answer.body, HasSubstr(R"("code":"upstream_error")")) << text;
  }
  answer_text =
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\nX: a\r\n b\r\n\r\nabc";
  const Answer lenient = proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(lenient.head, "HTTP/1.1 200 OK\r\nX: a b\r\nContent-Length: 3\r\n\r\n");
}

TEST(Proxy, AnswersWithoutABodyKeepTheConnection) {
  Origin origin(testing::answer_each([](const std::string& head) -> std::string {
    if (head.starts_with("HEAD")) return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    if (head.starts_with("GET /204")) return "HTTP/1.1 204 No Content\r\n\r\n";
    if (head.starts_with("GET /304"))
      return "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n";
    return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
           "0\r\n\r\n";
  }));
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
  Peer peer = proxy.connect();
  peer.send("HEAD http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(read_answer(peer, true).head, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  peer.send("GET http://origin.test/204 HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(read_answer(peer).head, "HTTP/1.1 204 No Content\r\n\r\n");
  peer.send("GET http://origin.test/304 HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(read_answer(peer).head, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
  peer.send("GET http://origin.test/hints HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(read_answer(peer).head, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
  EXPECT_EQ(read_answer(peer).status(), 200);
}

TEST(Proxy, AnswerOfUnknownLengthIsChunkedOrEndsWithTheConnection) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
  const Answer modern = proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(modern.head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_EQ(modern.body, "until the end");
  const Answer old = proxy.ask("GET http://origin.test/ HTTP/1.0\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(old.head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(old.body, "until the end");
}

TEST(Proxy, SlowOriginsRunIntoTheirTimeouts) {
  Origin origin([](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.starts_with("GET /started"))
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    peer.read_all();
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test", "limits: {idle: 1s}\n"),
               .times = {.first_byte = milliseconds(150), .tick = milliseconds(10)}});
  const Answer none =
      proxy.ask("GET http://origin.test/silent HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(none.status(), 504);
  EXPECT_THAT(none.body, HasSubstr("no first byte from the origin in 0.15 s"));
  const Answer half =
      proxy.ask("GET http://origin.test/started HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(half.status(), 200);
  EXPECT_FALSE(half.whole);
  EXPECT_THAT(proxy.audit_text(),
              HasSubstr(R"("code":"timeout","note":"idle: no byte moved for 1 s")"));
}

TEST(Proxy, SlowAndSilentGuestsAreLetGo) {
  Proxy proxy({.policy = "version: 1\nlimits: {idle: 1s}\n",
               .times = {.request_head = milliseconds(100), .tick = milliseconds(10)}});
  Peer dripping = proxy.connect();
  dripping.send("GET http://a.t");
  EXPECT_TRUE(dripping.at_end());
  Peer silent = proxy.connect();
  EXPECT_TRUE(silent.at_end());
}

TEST(Proxy, GuestThatLeavesFreesEverything) {
  std::atomic<int> gone = 0;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    peer.read_all();
    ++gone;
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
  for (int i = 0; i < 10; ++i) {
    Peer peer = proxy.connect();
    peer.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    EXPECT_NE(peer.read_until("\r\n\r\n"), "");
  }
  const auto deadline = std::chrono::steady_clock::now() + Peer::kPatience;
  while ((gone < 10 || proxy.sessions() > 0) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_EQ(gone, 10);
  EXPECT_EQ(proxy.sessions(), 0U);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("note":"the guest left")"));
}

/// Takes what comes, slowly at first; returns the count and whether it was the pattern.
std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>((i * 2654435761U) >> 13);
  return out;
}

TEST(Proxy, ThirtyTwoMebibytesEachWayWithSlowReaders) {
  const std::string body = pattern(std::size_t{32} << 20);
  std::atomic<std::size_t> origin_sent = 0;
  std::atomic<bool> read_on = false;
  Origin origin([&](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.starts_with("GET")) {
      peer.send(fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.size()));
      for (std::size_t at = 0; at < body.size(); at += 1 << 16) {
        peer.send(std::string_view(body).substr(at, 1 << 16));
        origin_sent = at;
      }
    } else {
      while (!read_on) std::this_thread::yield();
      const bool same = peer.read_exactly(body.size()) == body;
      peer.send(testing::ok(same ? "same" : "different"));
    }
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});

  Peer reader = proxy.connect();
  reader.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_NE(reader.read_until("\r\n\r\n"), "");
  // Nobody reads now: what the origin could send is what sockets and the proxy's bounded buffers
  // hold.
  std::size_t before = 1;
  while (origin_sent != before || before == 0) {
    before = origin_sent;
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_LT(before, std::size_t{16} << 20);
  EXPECT_EQ(reader.read_exactly(body.size()), body);

  Peer writer = proxy.connect();
  std::atomic<std::size_t> guest_sent = 0;
  std::jthread sender([&] {
    writer.send(fmt::format(
        "PUT http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nContent-Length: {}\r\n\r\n",
        body.size()));
    for (std::size_t at = 0; at < body.size(); at += 1 << 16) {
      writer.send(std::string_view(body).substr(at, 1 << 16));
      guest_sent = at;
    }
  });
  before = 1;
  while (guest_sent != before || before == 0) {
    before = guest_sent;
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_LT(before, std::size_t{16} << 20);
  read_on = true;
  EXPECT_EQ(read_answer(writer).body, "same");
}

TEST(Proxy, TunnelCarriesBytesBothWaysWithHalfClose) {
  const std::string hello = testing::client_hello("origin.test");
  Origin origin([&](Peer& peer) {
    const std::string seen = peer.read_all();  // to the guest's end of stream
    peer.send("seen " + std::to_string(seen.size()));
  });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test")});
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

TEST(Proxy, TunnelWithAnotherNameInsideIsRefused) {
  std::atomic<int> bytes = 0;
  Origin origin([&](Peer& peer) { bytes += static_cast<int>(peer.read_all().size()); });
  Proxy proxy({.policy = policy_for(origin.port(), "origin.test"),
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

TEST(Proxy, ConnectIsRefusedWhereRulesLookInside) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  Proxy proxy({.policy = policy_for(origin.port(), "GET https://origin.test/a")});
  const Answer answer =
      proxy.ask("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
  EXPECT_EQ(answer.status(), 403);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"denied_by_policy")"));
  EXPECT_EQ(proxy.ask("CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n").status(),
            403);
  EXPECT_EQ(origin.connections(), 0);
}

TEST(Proxy, EndsInOrderWithRunningExchangesCutAfterTheGrace) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  Proxy proxy(
      {.policy = policy_for(origin.port(), "origin.test"), .times = {.grace = milliseconds(100)}});
  Peer peer = proxy.connect();
  peer.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  while (origin.connections() == 0) std::this_thread::yield();
  const std::string audit = proxy.audit_text();
  EXPECT_TRUE(audit::verify_text(audit).value().sealed);
  EXPECT_THAT(audit, HasSubstr(R"("kind":"end")"));
}

}  // namespace
}  // namespace pinhole::pep
