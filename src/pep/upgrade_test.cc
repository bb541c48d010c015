// SPDX-License-Identifier: Apache-2.0
// WebSockets through the proxy: the handshake, bytes both ways, and what may not pass.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/harness.h"
#include "pep/tls_origin.h"
#include "sys/process.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

constexpr std::string_view kAsk =
    "GET http://origin.test/ws?a=b HTTP/1.1\r\nHost: origin.test\r\nConnection: keep-alive, "
    "Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    "dGhlIHNhbXBsZSBub25jZQ==\r\n";
constexpr std::string_view kAgreed =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A client's text frame under a mask of zeros.
std::string frame(std::string_view text) {
  return "\x81" + std::string(1, static_cast<char>(0x80 | text.size())) + std::string(4, '\0') +
         std::string(text);
}

TEST(Upgrade, CarriesBytesBothWaysWithHalfClose) {
  std::string asked;
  Origin origin([&](Peer& peer) {
    asked = peer.read_until("\r\n\r\n");
    peer.send(std::string(kAgreed) + "greeting");
    const std::string seen = peer.read_all();
    peer.send("seen " + seen);
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "GET http://origin.test/ws")});
  Peer peer = proxy.connect();
  peer.send(std::string(kAsk) + "\r\n" + frame("early"));
  EXPECT_EQ(peer.read_until("\r\n\r\n"), kAgreed);
  EXPECT_EQ(peer.read_exactly(8), "greeting");
  peer.send(frame("late"));
  peer.half_close();
  EXPECT_EQ(peer.read_all(), "seen " + frame("early") + frame("late"));
  EXPECT_EQ(
      asked,
      "GET /ws?a=b HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("status":101,"sent":21,"received":34)"));
}

TEST(Upgrade, IsDecidedLikeAnyRequest) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send(kAgreed);
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "GET http://origin.test/other")});
  const Answer refused = proxy.ask(std::string(kAsk) + "\r\n");
  EXPECT_EQ(refused.status(), 403);
  EXPECT_THAT(refused.body, HasSubstr(R"("code":"denied_by_policy")"));
  EXPECT_EQ(origin.connections(), 0);
}

TEST(Upgrade, AnAnswerThatDoesNotAgreeIsPassedOn) {
  int turn = 0;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    constexpr std::array<std::string_view, 3> kAnswers = {
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nnever",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
        "chunked\r\n\r\n5\r\nnever\r\n0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\n\r\nnever"};
    peer.send(kAnswers.at(static_cast<std::size_t>(turn++)));
    if (turn == 3) peer.close();
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "http://origin.test")});
  Peer peer = proxy.connect();  // which goes on
  for (const int status : {401, 200, 503}) {
    peer.send(std::string(kAsk) + "\r\n");
    if (status == 200) EXPECT_THAT(peer.read_until("\r\n\r\n"), HasSubstr("103 Early Hints"));
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), status);
    EXPECT_EQ(answer.body, "never");
    EXPECT_TRUE(answer.whole);
  }
}

TEST(Upgrade, ATruncatedAnswerIsNotWhole) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 50\r\n\r\nnever");
    peer.close();
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "http://origin.test")});
  EXPECT_FALSE(proxy.ask(std::string(kAsk) + "\r\n").whole);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("code":"upstream_error")"));
}

TEST(Upgrade, OriginsThatDoNotKeepToTheHandshakeAreRefused) {
  using namespace std::string_literals;
  std::string answer;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    const std::string bytes = answer;  // the test may go on before all of it is sent
    peer.send(bytes);
    peer.close();
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "http://origin.test")});
  for (const std::string& bytes :
       {std::string("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"),
        "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"s,
        std::string("garbage\r\n\r\n"), std::string("HTTP/1.1 101 Switching"),
        "HTTP/1.1 101 x\r\nX: " + std::string(70'000, 'x')}) {
    answer = bytes;
    EXPECT_EQ(proxy.ask(std::string(kAsk) + "\r\n").status(), 502) << bytes.substr(0, 40);
  }
  answer = kAgreed;
  Peer peer = proxy.connect();
  peer.send(std::string(kAsk) + "\r\n");
  EXPECT_EQ(peer.read_until("\r\n\r\n"), kAgreed);
}

TEST(Upgrade, OtherProtocolsAreNotOffered) {
  std::string asked;
  Origin origin([&](Peer& peer) {
    asked = peer.read_until("\r\n\r\n");
    peer.send(testing::ok("plain"));
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "http://origin.test")});
  const Answer answer = proxy.ask(
      "GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade, "
      "HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n");
  EXPECT_EQ(answer.body, "plain");
  EXPECT_THAT(asked, Not(HasSubstr("pgrade")));
}

TEST(Upgrade, EndsByTheLimitsOfItsRuleAndByIdleness) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send(kAgreed);
    peer.send(peer.read_exactly(10));
    peer.read_all();
  });
  const std::string policy = fmt::format(
      "version: 1\negress: {{allow: [{{host: origin.test, limits: {{request_body: 100, "
      "response_body: 100}}}}]}}\nlimits: {{idle: 1s}}\ninternal: [\"origin.test:80 -> "
      "127.0.0.1:{}\"]\n",
      origin.port());
  Proxy proxy({.policy = policy, .times = {.tick = milliseconds(10)}});
  Peer idle = proxy.connect();
  idle.send(std::string(kAsk) + "\r\n" + frame("0123"));
  idle.read_until("\r\n\r\n");
  EXPECT_EQ(idle.read_all(), frame("0123"));
  Peer large = proxy.connect();
  large.send(std::string(kAsk) + "\r\n" + frame(std::string(96, 'x')));
  large.read_until("\r\n\r\n");
  EXPECT_EQ(large.read_all(), "");
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit, HasSubstr(R"("code":"timeout")"));
  EXPECT_THAT(audit, HasSubstr(R"("code":"constraint_violation")"));
}

TEST(Upgrade, AnAnswerThatTheGuestDoesNotReadEndsInTime) {
  Origin origin([](Peer& peer) {
    const bool endless = peer.read_until("\r\n\r\n").contains("Upgrade");
    if (!endless) {
      peer.send(testing::ok(std::string(900'000, 'x')));
      return;
    }
    peer.send("HTTP/1.1 200 OK\r\n\r\n");
    while (peer.send(std::string(100'000, 'x'))) {
    }
  });
  Proxy proxy(
      {.policy = testing::policy_for(origin.port(), "http://origin.test", "limits: {idle: 1s}\n"),
       .times = {.tick = milliseconds(10)}});
  Peer plain = proxy.connect();
  plain.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  Peer upgraded = proxy.connect();
  upgraded.send(std::string(kAsk) + "\r\n");
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (proxy.sessions() < 2 || std::chrono::steady_clock::now() > until)
    std::this_thread::yield();
  while (proxy.sessions() > 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  EXPECT_EQ(proxy.sessions(), 0U);
  const std::string audit = proxy.audit_text();
  const std::size_t first = audit.find(R"("code":"timeout")");
  ASSERT_NE(first, std::string::npos) << audit;
  EXPECT_NE(audit.find(R"("code":"timeout")", first + 1), std::string::npos) << audit;
}

TEST(Upgrade, AnswersOverALimitAreRefusedBeforeTheyBegin) {
  std::string answer;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    const std::string bytes = answer;  // the test may go on before all of it is sent
    peer.send(bytes);
    peer.read_all();
  });
  Proxy proxy({.policy = fmt::format(
                   "version: 1\negress: {{allow: [{{host: origin.test, limits: {{response_body: "
                   "100}}}}]}}\ninternal: [\"origin.test:80 -> 127.0.0.1:{}\"]\n",
                   origin.port())});
  const auto ask = [&](std::string text) {
    answer = std::move(text);
    Peer peer = proxy.connect();
    peer.send(std::string(kAsk) + "\r\n");
    return peer.read_until("\r\n\r\n");
  };
  const auto hints = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "HTTP/1.1 103 Early Hints\r\n\r\n";
    return text;
  };
  const std::string refused = "HTTP/1.1 502 ";
  EXPECT_THAT(ask("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"),
              ::testing::StartsWith(refused));
  EXPECT_THAT(ask("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
              ::testing::StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask("HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n"),
              ::testing::StartsWith(refused));
  for (const auto& [count, status] : {std::pair(33, "502"), std::pair(32, "101")}) {
    answer = hints(count) + std::string(kAgreed);
    Peer peer = proxy.connect();
    peer.send(std::string(kAsk) + "\r\n");
    std::string last;
    for (int i = 0; i <= 32; ++i) last = peer.read_until("\r\n\r\n");
    EXPECT_THAT(last, ::testing::StartsWith(fmt::format("HTTP/1.1 {} ", status))) << count;
  }
}

TEST(Upgrade, WhatIsNoWebSocketIsNotCarried) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send(kAgreed);
    EXPECT_EQ(peer.read_all(), "");
  });
  Proxy proxy({.policy = testing::policy_for(origin.port(), "GET http://origin.test/**")});
  Peer peer = proxy.connect();
  peer.send(std::string(kAsk) + "\r\nDELETE /x HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(peer.read_until("\r\n\r\n"), kAgreed);
  EXPECT_EQ(peer.read_all(), "");
  EXPECT_THAT(proxy.audit_text(),
              HasSubstr(R"("code":"invalid_request","note":"not a WebSocket client's frames)"));
}

/// Echoes the handshake's Authorization in one message, in two frames.
constexpr std::string_view kScript = R"(
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/leaf.pem", sys.argv[1] + "/leaf.key")
def serve(raw):
    try: tls = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError): return
    head = b""
    while not head.endswith(b"\r\n\r\n"): head += tls.recv(1)
    told = [l for l in head.split(b"\r\n") if l.lower().startswith(b"authorization")][0]
    extensions = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if b"/deflate" in head.split(b"\r\n")[0] else b""
    assert b"xtensions" not in head
    tls.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Echo: " + told + b"\r\n" + extensions + b"\r\n")
    first, second = told[:40], told[40:]
    tls.sendall(bytes([0x01, len(first)]) + first)
    tls.sendall(bytes([0x80, len(second)]) + second)
    tls.recv(1)
    tls.unwrap()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True: threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
)";

TEST(Upgrade, OverTlsItsMessagesAreSearchedForSecrets) {
  const testing::TlsOrigin origin(kScript);
  const std::string value = "sk-live-0123456789abcdefghijklmnop";
  Proxy proxy({.policy = origin.trusting_policy(
                   "secrets: {KEY: {from: \"env:KEY\", hosts: [origin.test]}}\n"),
               .authority = true,
               .secrets = {{"KEY", value}}});
  const std::string ask = fmt::format(
      "HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
      "Sec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: Bearer {}\r\n\r\n",
      proxy.placeholder("KEY"));
  Peer peer = proxy.connect();
  peer.send("GET https://origin.test/ws " + ask);
  const std::string head = peer.read_until("\r\n\r\n");
  EXPECT_THAT(head, ::testing::StartsWith("HTTP/1.1 101 "));
  EXPECT_THAT(head, HasSubstr("Bearer " + proxy.placeholder("KEY")));
  peer.send(frame("x"));
  const std::string frames = peer.read_all();
  EXPECT_THAT(frames, HasSubstr(proxy.placeholder("KEY")));
  EXPECT_THAT(head + frames, Not(HasSubstr(value.substr(0, 12))));
  // A compressed stream could not be searched.
  const Answer deflated = proxy.ask("GET https://origin.test/deflate " + ask);
  EXPECT_EQ(deflated.status(), 502);
  EXPECT_THAT(deflated.body, HasSubstr(R"("code":"upstream_error")"));
}

}  // namespace
}  // namespace pinhole::pep
