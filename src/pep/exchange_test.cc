// SPDX-License-Identifier: Apache-2.0
// Bodies, framings, limits and timeouts of one exchange, with origins and guests that misbehave.
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(ExchangeTest, RequestBodiesArriveWholeInBothFramings) {
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
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
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

TEST(ExchangeTest, RequestBodyOverTheLimitIsRefused) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test",
                                             "limits: {request_body: 1KiB}\n")});
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

TEST(ExchangeTest, AnswerBodyOverTheLimitIsRefusedOrCut) {
  Origin origin(testing::answer_each([](const std::string& head) {
    const std::string body(2000, 'x');
    if (head.starts_with("GET /declared")) return testing::ok(body);
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + body + "\r\n0\r\n\r\n";
  }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test",
                                             "limits: {response_body: 1KiB}\n")});
  const Answer declared =
      proxy.ask("GET http://origin.test/declared HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(declared.status(), 502);
  EXPECT_THAT(declared.body, HasSubstr(R"("code":"constraint_violation")"));
  const Answer counted =
      proxy.ask("GET http://origin.test/counted HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(counted.status(), 200);
  EXPECT_FALSE(counted.whole);
}

TEST(ExchangeTest, TruncatedAnswerIsCutNeverFinished) {
  Origin origin([](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.starts_with("GET /length"))
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    if (head.starts_with("GET /chunked"))
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    if (head.starts_with("GET /head")) peer.send("HTTP/1.1 200 OK\r\nContent-Le");
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
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

TEST(ExchangeTest, BrokenAnswersBecomeUpstreamErrors) {
  std::string answer_text;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    const std::string bytes = answer_text;  // the test may go on before all of it is sent
    peer.send(bytes);
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
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

TEST(ExchangeTest, AnswersWithoutABodyKeepTheConnection) {
  Origin origin(testing::answer_each([](const std::string& head) -> std::string {
    if (head.starts_with("HEAD")) return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    if (head.starts_with("GET /204")) return "HTTP/1.1 204 No Content\r\n\r\n";
    if (head.starts_with("GET /304"))
      return "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n";
    return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
           "0\r\n\r\n";
  }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
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

TEST(ExchangeTest, AnswerOfUnknownLengthIsChunkedAndNotForHttp10) {
  Origin origin([](Peer& peer) {
    const bool tells = peer.read_until("\r\n\r\n").starts_with("GET /length");
    peer.send(tells ? "HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nuntil the end"
                    : "HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  const Answer modern = proxy.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(modern.head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_EQ(modern.body, "until the end");
  const Answer old =
      proxy.ask("GET http://origin.test/length HTTP/1.0\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(old.head, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(old.body, "until the end");
  const Answer refused = proxy.ask("GET http://origin.test/ HTTP/1.0\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(refused.status(), 502);
  EXPECT_THAT(refused.body, HasSubstr("ask with HTTP/1.1"));
}

TEST(ExchangeTest, SlowOriginsRunIntoTheirTimeouts) {
  Origin origin([](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.starts_with("GET /started"))
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    peer.read_all();
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test", "limits: {idle: 1s}\n"),
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

TEST(ExchangeTest, SlowAndSilentGuestsAreLetGo) {
  Proxy proxy({.policy = "version: 1\nlimits: {idle: 1s}\n",
               .times = {.request_head = milliseconds(100), .tick = milliseconds(10)}});
  Peer dripping = proxy.connect();
  dripping.send("GET http://a.t");
  EXPECT_TRUE(dripping.at_end());
  Peer silent = proxy.connect();
  EXPECT_TRUE(silent.at_end());
}

TEST(ExchangeTest, GuestThatLeavesFreesEverything) {
  std::atomic<int> gone = 0;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    peer.read_all();
    ++gone;
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
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

/// Bytes that do not repeat where buffers end.
std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>((i * 2654435761U) >> 13);
  return out;
}

/// Sends all of it; `held_at` gets how much went out before the other side held us back.
void send_and_note(Peer& peer, std::string_view bytes, std::promise<std::size_t>& held_at) {
  constexpr std::size_t kPiece = 1 << 16;
  bool noted = false;
  for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
    if (!noted && peer.is_held_back()) {
      held_at.set_value(at);
      noted = true;
    }
    peer.send(bytes.substr(at, kPiece));
  }
  if (!noted) held_at.set_value(bytes.size());
}

TEST(ExchangeTest, ThirtyTwoMebibytesEachWayWithSlowReaders) {
  constexpr std::size_t kHeldAtMost = std::size_t{16}
                                      << 20;  // sockets' buffers and the proxy's bounded ones
  const std::string body = pattern(std::size_t{32} << 20);
  std::promise<std::size_t> origin_held;
  std::promise<std::size_t> guest_held;
  std::promise<void> read_on;
  Origin origin([&](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.starts_with("GET")) {
      peer.send(fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.size()));
      send_and_note(peer, body, origin_held);
    } else {
      read_on.get_future().wait();
      const bool same = peer.read_exactly(body.size()) == body;
      peer.send(testing::ok(same ? "same" : "different"));
    }
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});

  Peer reader = proxy.connect();
  reader.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_NE(reader.read_until("\r\n\r\n"), "");
  EXPECT_LT(origin_held.get_future().get(), kHeldAtMost);
  EXPECT_EQ(reader.read_exactly(body.size()), body);

  Peer writer = proxy.connect();
  std::jthread sender([&] {
    writer.send(fmt::format(
        "PUT http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nContent-Length: {}\r\n\r\n",
        body.size()));
    send_and_note(writer, body, guest_held);
  });
  EXPECT_LT(guest_held.get_future().get(), kHeldAtMost);
  read_on.set_value();
  EXPECT_EQ(read_answer(writer).body, "same");
}

TEST(ExchangeTest, InterimAnswersWithoutEndAreCut) {
  Origin origin([](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    const int count = head.starts_with("GET /few") ? 3 : 100;
    for (int i = 0; i < count; ++i) peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
    peer.send(testing::ok("x"));
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  const auto last_status = [&](const std::string& path) {
    Peer peer = proxy.connect();
    peer.send("GET http://origin.test/" + path + " HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    Answer answer = read_answer(peer);
    while (answer.status() == 103) answer = read_answer(peer);
    return answer.status();
  };
  EXPECT_EQ(last_status("few"), 200);
  EXPECT_EQ(last_status("many"), 502);
  EXPECT_THAT(proxy.audit_text(), HasSubstr("more than 32 interim answers"));
}

}  // namespace
}  // namespace pinhole::pep
