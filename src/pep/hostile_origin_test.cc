// SPDX-License-Identifier: Apache-2.0
// Origins that attack: the guest gets an error with its code, or an answer that is visibly cut, the
// door holds no more than it may, and the next request is served. What an origin does with a secret
// that it knows is in secret_misuse_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include <poll.h>
#include <unistd.h>

#include "base/strings.h"
#include "pep/h2_harness.h"
#include "pep/harness.h"
#include "pep/name_server.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using testing::Answer;
using testing::h2_frame;
using ::testing::HasSubstr;
using testing::NameServer;
using ::testing::Not;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

using namespace std::string_literals;

std::string get(std::string_view path) {
  return fmt::format("GET http://origin.test{} HTTP/1.1\r\nHost: origin.test\r\n\r\n", path);
}

/// Serves /good; anything else is answered by `attack`, which gets the request's head.
Origin::Serve good_or(std::function<void(Peer&, const std::string&)> attack) {
  return [attack = std::move(attack)](Peer& peer) {
    while (true) {
      const std::string head = peer.read_until("\r\n\r\n");
      if (head.empty()) return;
      if (!head.starts_with("GET /good ")) return attack(peer, head);
      if (!peer.send(testing::ok("good"))) return;
    }
  };
}

/// Sends `piece` until the door has enough.
void send_for_ever(Peer& peer, std::string_view piece) {
  constexpr std::size_t kEnough = std::size_t{64} << 20;
  for (std::size_t sent = 0; sent < kEnough && peer.send(piece); sent += piece.size()) {
  }
}

TEST(HostileOrigin, WithoutAnEndIsCutAtALimitThatHasACode) {
  std::string fields;
  for (int i = 0; i < 100'000; ++i) fields += "X: 1\r\n";
  Origin origin(good_or([&](Peer& peer, const std::string& head) {
    const std::string ok = "HTTP/1.1 200 OK\r\n";
    if (head.starts_with("GET /headers ")) {
      if (peer.send(ok)) send_for_ever(peer, "X-Name: " + std::string(1000, 'x') + "\r\n");
    } else if (head.starts_with("GET /line ")) {
      if (peer.send(ok + "X: ")) send_for_ever(peer, std::string(1 << 16, 'x'));
    } else if (head.starts_with("GET /many ")) {
      peer.send(ok + fields + "\r\n");
    } else if (head.starts_with("GET /status ")) {
      send_for_ever(peer, std::string(1 << 16, 'x'));
    } else if (head.starts_with("GET /interim ")) {
      send_for_ever(peer, "HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n");
    } else if (head.starts_with("GET /body ")) {
      if (peer.send(ok + "\r\n")) send_for_ever(peer, std::string(1 << 16, 'x'));
    } else if (head.starts_with("GET /extension ")) {
      if (peer.send(ok + "Transfer-Encoding: chunked\r\n\r\n1;"))
        send_for_ever(peer, std::string(1 << 16, 'x'));
    } else if (head.starts_with("GET /trailers ")) {
      if (peer.send(ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"))
        send_for_ever(peer, "X-Name: " + std::string(1000, 'x') + "\r\n");
    }
  }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test",
                                             "limits: {response_body: 1MiB}\n")});
  for (const std::string path : {"/headers", "/line", "/many", "/status", "/interim"}) {
    Peer peer = proxy.connect();
    peer.send(get(path));
    Answer answer = read_answer(peer);
    while (answer.status() == 103) answer = read_answer(peer);
    EXPECT_EQ(answer.status(), 502) << path;
    const bool limit = path != "/line" && path != "/status";  // libcurl gives up by itself there
    EXPECT_THAT(answer.body, HasSubstr(limit ? R"("code":"constraint_violation")"
                                             : R"("code":"upstream_error")"))
        << path;
    EXPECT_EQ(proxy.ask(get("/good")).body, "good");
  }
  for (const std::string path : {"/body", "/extension", "/trailers"}) {
    const Answer answer = proxy.ask(get(path));
    EXPECT_FALSE(answer.whole) << path;
    EXPECT_LE(answer.body.size(), std::size_t{1} << 20) << path;
    EXPECT_EQ(proxy.ask(get("/good")).body, "good");
  }
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit, HasSubstr("the answer's body is over the limit of 1048576 bytes"));
  EXPECT_THAT(audit, HasSubstr("the origin's trailers are over 65536 bytes"));
}

TEST(HostileOrigin, ThatDripsIsCutInTheEnd) {
  Origin origin(good_or([](Peer& peer, const std::string& head) {
    std::string text = "HTTP/1.1 200 OK\r\nX: ";
    if (head.starts_with("GET /body ")) text = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n";
    peer.send(text);
    // Until the door closes: it has nothing else to say.
    pollfd word{.fd = peer.fd(), .events = POLLIN, .revents = 0};
    while (::poll(&word, 1, 20) == 0 && peer.send("x")) {
    }
  }));
  Proxy proxy(
      {.policy = testing::policy_for(origin.port(), "origin.test"),
       .times = {
           .first_byte = milliseconds(300), .total = milliseconds(600), .tick = milliseconds(10)}});
  const Answer head = proxy.ask(get("/head"));
  EXPECT_EQ(head.status(), 504);
  EXPECT_THAT(head.body, HasSubstr(R"("code":"timeout")"));
  const Answer body = proxy.ask(get("/body"));
  EXPECT_EQ(body.status(), 200);
  EXPECT_FALSE(body.whole);
  EXPECT_EQ(proxy.ask(get("/good")).body, "good");
  EXPECT_THAT(proxy.audit_text(), HasSubstr("the exchange took more than 0.6 s in total"));
}

TEST(HostileOrigin, WhoseLengthIsWrongReachesOnlyItsOwnRequest) {
  Origin origin(good_or([](Peer& peer, const std::string& head) {
    if (head.starts_with("GET /long "))  // more than it says, made to look like the next answer
      peer.send(
          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: "
          "6\r\nX-Evil: 1\r\n\r\npoison");
    if (head.starts_with("GET /short "))
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort");
    if (head.starts_with("GET /head-only "))
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
    if (head.starts_with("HEAD ")) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    if (head.starts_with("GET /none "))
      peer.send("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello");
    if (head.starts_with("GET /unchanged "))
      peer.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello");
    if (head.starts_with("GET /twice "))
      peer.send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 "
          "OK\r\nContent-Length: 6\r\n\r\npoison");
  }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  Peer peer = proxy.connect();
  for (const std::string path : {"/long", "/twice", "/none", "/unchanged"}) {
    peer.send(get(path));
    const Answer answer = read_answer(peer);
    EXPECT_TRUE(answer.whole) << path;
    EXPECT_THAT(answer.body, ::testing::AnyOf("ok", "")) << path;
    peer.send(get("/good"));
    EXPECT_EQ(read_answer(peer).body, "good") << "after " << path;
  }
  peer.send("HEAD http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(read_answer(peer, true).status(), 200);
  peer.send(get("/good"));
  EXPECT_EQ(read_answer(peer).body, "good");
  for (const std::string path : {"/short", "/head-only"}) {
    const Answer answer = proxy.ask(get(path));
    EXPECT_EQ(answer.status(), 200) << path;
    EXPECT_FALSE(answer.whole) << path;
  }
  const Answer gone = proxy.ask(get("/nothing-at-all"));
  EXPECT_EQ(gone.status(), 502);
  EXPECT_THAT(gone.body, HasSubstr(R"("code":"upstream_error")"));
}

TEST(HostileOrigin, CannotSplitItsAnswer) {
  std::string text;
  Origin origin(good_or([&](Peer& peer, const std::string&) { peer.send(text); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  const std::string end = "\r\nContent-Length: 2\r\n\r\nok";
  const auto with = [&](const std::string& fields) { return "HTTP/1.1 200 OK\r\n" + fields + end; };
  for (const std::string& attack :
       {with("X: a\rSet-Cookie: evil=1"), with("X: a\0\r\nY: b"s), with("X: a\r\r\nY: b"),
        with("X: \x01"), with("X\0: a"s), with("X : a"), with("Set-Cookie evil"), with(": a"),
        "HTTP/1.1 200 OK\rSet-Cookie: evil=1" + end, "HTTP/1.1 200 O\0K"s + end,
        "HTTP/1.1 200 OK\r\r\n\r\n"s}) {
    text = attack;
    Peer peer = proxy.connect();
    peer.send("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n");
    const std::string seen = peer.read_all();
    EXPECT_THAT(seen, ::testing::AnyOf(::testing::StartsWith("HTTP/1.1 502 "),
                                       ::testing::StartsWith("HTTP/1.1 200 OK")))
        << attack;
    EXPECT_THAT(seen, Not(HasSubstr("\nSet-Cookie"))) << attack;
    EXPECT_THAT(seen, Not(HasSubstr("\rSet-Cookie"))) << attack;
    EXPECT_EQ(seen.find('\0'), std::string::npos) << attack;
    EXPECT_THAT(seen, Not(HasSubstr("\x01"))) << attack;
  }
  text = with(
      "Set-Cookie: fine=1\nX: a");  // LF alone ends a line (RFC 9112 §2.2), and is written anew
  EXPECT_THAT(proxy.ask(get("/")).head, HasSubstr("\r\nSet-Cookie: fine=1\r\nX: a\r\n"));
}

TEST(HostileOrigin, ThatSendsTheGuestElsewhereIsNotFollowed) {
  Origin origin(good_or([](Peer& peer, const std::string&) {
    peer.send(
        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: "
        "0\r\n\r\n");
  }));
  for (const bool named : {false, true}) {
    Proxy proxy({.policy = testing::policy_for(
                     origin.port(), named ? "origin.test, 169.254.169.254" : "origin.test")});
    const Answer redirect = proxy.ask(get("/away"));
    EXPECT_EQ(redirect.status(), 302);
    EXPECT_EQ(redirect.header("location"), "http://169.254.169.254/latest");
    const Answer hop =
        proxy.ask("GET http://169.254.169.254/latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
    EXPECT_EQ(hop.status(), 403);
    EXPECT_THAT(hop.body,
                HasSubstr(named ? R"("code":"ssrf_blocked")" : R"("code":"denied_by_policy")"));
  }
}

TEST(HostileOrigin, WhoseNameLeadsInsideIsNotReached) {
  Origin inside(testing::answer_each([](const std::string&) { return testing::ok("inside"); }));
  // No route leads to these: of the addresses that are for everybody, not given to anybody yet.
  const std::string open = "2d00::1";
  NameServer names(
      {
          {"turns.test", {{open}, {"127.0.0.1", "::1"}}},
          {"mixed.test", {{open, "127.0.0.1", "::1"}}},
          {"alias.test", {{"cname inner.test"}}},
          {"inner.test", {{"127.0.0.1", "::1"}}},
          {"mapped.test", {{"::ffff:127.0.0.1"}}},
          {"metadata.test", {{"169.254.169.254"}}},
      },
      0);
  Proxy proxy({.policy = fmt::format(
                   "version: 1\negress: {{allow: [\"http://*.test:{0}\"]}}\nresolver: [\"{1}\"]\n"
                   "internal: [\"origin.test:{0} -> 127.0.0.1:{0}\"]\n",
                   inside.port(), names.where()),
               .times = {.connect = milliseconds(200)}});
  const auto ask = [&](const std::string& host) {
    const Answer answer = proxy.ask(
        fmt::format("GET http://{0}:{1}/ HTTP/1.1\r\nHost: {0}:{1}\r\n\r\n", host, inside.port()));
    const std::size_t at = answer.body.find(R"("code":")");
    return at == std::string::npos
               ? answer.body
               : answer.body.substr(at + 8, answer.body.find('"', at + 8) - at - 8);
  };
  EXPECT_THAT(ask("turns.test"), ::testing::AnyOf("connect_error", "timeout"));
  EXPECT_EQ(ask("turns.test"), "ssrf_blocked");
  for (const std::string host : {"mixed.test", "alias.test", "mapped.test", "metadata.test"})
    EXPECT_EQ(ask(host), "ssrf_blocked") << host;
  EXPECT_EQ(inside.connections(), 0);
}

std::string ask_over_tls(const testing::TlsSide& trusted, std::uint16_t port) {
  Proxy proxy({.policy = testing::policy_for(
                   port, "origin.test",
                   fmt::format("ca: {{origin.test: {}}}\n", trusted.ca_file().string()))});
  const Answer answer = proxy.ask("GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  if (answer.status() == 200) return answer.body;
  EXPECT_EQ(answer.status(), 502);
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("code":"tls_error")"));
  return answer.body;
}

TEST(HostileOrigin, WhoseCertificateIsNotGoodGetsNoRequest) {
  ::setenv("SSL_CERT_FILE", "/dev/null", 1);
  std::atomic<int> requests = 0;
  const auto serve = [&](Peer& peer) {
    if (peer.read_until("\r\n\r\n").empty()) return;
    ++requests;
    peer.send(testing::ok("fine"));
  };
  constexpr std::time_t kYear = 366 * 24 * 60 * 60;
  testing::TlsSide good;
  testing::TlsSide past([] { return std::time(nullptr) - 3 * kYear; });
  testing::TlsSide future([] { return std::time(nullptr) + kYear; });
  testing::TlsSide stranger;
  Origin fine(testing::over_tls(good, serve));
  EXPECT_EQ(ask_over_tls(good, fine.port()), "fine");
  EXPECT_EQ(requests, 1);
  Origin expired(testing::over_tls(past, serve));
  EXPECT_THAT(ask_over_tls(past, expired.port()), HasSubstr("tls_error"));
  Origin early(testing::over_tls(future, serve));
  EXPECT_THAT(ask_over_tls(future, early.port()), HasSubstr("tls_error"));
  Origin unknown(testing::over_tls(stranger, serve));
  EXPECT_THAT(ask_over_tls(good, unknown.port()), HasSubstr("tls_error"));
  Origin misnamed(testing::over_tls(good, serve, {"http/1.1"}, "other.test"));
  EXPECT_THAT(ask_over_tls(good, misnamed.port()), HasSubstr("tls_error"));
  Origin plain([](Peer& peer) { peer.send("HTTP/1.1 400 Bad Request\r\n\r\n"); });
  EXPECT_THAT(ask_over_tls(good, plain.port()), HasSubstr("tls_error"));
  EXPECT_EQ(requests, 1);
  ::unsetenv("SSL_CERT_FILE");
}

/// Bytes of this process's memory that are in use.
std::size_t resident() {
  const std::string text = sys::read_file("/proc/self/statm", 1024).value();
  return *parse_u64(split(text, ' ')[1]) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(HostileOrigin, BombOfGzipPassesAsTheBytesThatItIs) {
  // Members one after the other are one file (RFC 1952 §2.2): 64 times 16 MiB of zeros.
  sys::Command pack{.program = sys::find_program("python3").value(),
                    .args = {"-c",
                             "import gzip, sys\n"
                             "sys.stdout.buffer.write(gzip.compress(bytes(1 << 24), 6, mtime=0))"}};
  const std::string member =
      sys::run(std::move(pack), {.time = std::chrono::seconds(60)}).value().out;
  ASSERT_GT(member.size(), 1000U);
  std::string bomb;
  for (int i = 0; i < 64; ++i) bomb += member;
  Origin origin(good_or([&](Peer& peer, const std::string&) {
    peer.send(fmt::format("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                          bomb.size()) +
              bomb);
  }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test",
                                             "limits: {response_body: 16MiB}\n")});
  EXPECT_EQ(proxy.ask(get("/good")).body, "good");
  const std::size_t before = resident();
  const Answer answer = proxy.ask(get("/bomb"));
  EXPECT_EQ(answer.header("content-encoding"), "gzip");
  EXPECT_TRUE(answer.whole && answer.body == bomb) << "limits count what is on the wire";
  EXPECT_LT(resident(), before + (std::size_t{64} << 20));
}

/// One flood of frames, after which the origin says nothing sensible any more.
struct Flood {
  std::string name;
  std::string frames;
  int times = 1;
};

std::vector<Flood> floods() {
  const std::string settings = h2_frame(NGHTTP2_SETTINGS, 0, 0, "");
  // :status 200 by its index, then the same field by the table again and again.
  const std::string bomb =
      "\x88\x40\x01x"
      "\x7f\xbd\x1d"s +
      std::string(3900, 'a');
  std::string more;
  for (int i = 0; i < 100; ++i) more += h2_frame(NGHTTP2_CONTINUATION, 0, 1, "\x0f\x01\x01z"s);
  std::string pings;
  for (int i = 0; i < 1000; ++i) pings += h2_frame(NGHTTP2_PING, 0, 0, "12345678");
  std::string many_settings;
  for (int i = 0; i < 1000; ++i) many_settings += settings;
  std::string interim;
  for (int i = 0; i < 100; ++i)
    interim += h2_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1,
                        "\x08\x03"
                        "103"s);
  return {
      {"settings", many_settings, 100},
      {"pings", pings, 100},
      {"a head without end", h2_frame(NGHTTP2_HEADERS, 0, 1, "\x88") + more, 100},
      {"interim answers", interim, 100},
      {"a head that grows by the table",
       h2_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, bomb + std::string(12'000, '\xBE'))},
      {"a head that is no HPACK",
       h2_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, "\xff\xff")},
      {"a frame over the largest", h2_frame(NGHTTP2_DATA, 0, 1, std::string(20'000, 'x'))},
      {"a reset", h2_frame(NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\x7"s)},
      {"an end", h2_frame(NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\x0b"s)},
      {"a promise", h2_frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1, "\0\0\0\2\x82"s)},
  };
}

TEST(HostileOrigin, WhoseHttp2IsAFloodIsLeftAndTheNextOneIsServed) {
  ::setenv("SSL_CERT_FILE", "/dev/null", 1);
  testing::TlsSide side;
  for (const Flood& flood : floods()) {
    SCOPED_TRACE(flood.name);
    Origin origin(testing::over_tls(side,
                                    [&](Peer& peer) {
                                      std::string text = peer.read_exactly(24);
                                      if (!peer.send(h2_frame(NGHTTP2_SETTINGS, 0, 0, ""))) return;
                                      bool gone = false;
                                      for (int i = 0; i < flood.times && !gone; ++i)
                                        gone = !peer.send(flood.frames);
                                      while (!gone && !peer.read_some().empty()) {
                                      }
                                    },
                                    {"h2"}));
    Origin good(testing::answer_each([](const std::string&) { return testing::ok("good"); }));
    Proxy proxy(
        {.policy = fmt::format("version: 1\negress: {{allow: [origin.test, good.test]}}\n"
                               "internal:\n  - origin.test:443 -> 127.0.0.1:{}\n"
                               "  - good.test:80 -> 127.0.0.1:{}\nca: {{origin.test: {}}}\n",
                               origin.port(), good.port(), side.ca_file().string()),
         .times = {.first_byte = milliseconds(700), .tick = milliseconds(10)}});
    const std::size_t before = resident();
    Peer peer = proxy.connect();
    peer.send("GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    Answer answer = read_answer(peer);
    while (answer.status() == 103) answer = read_answer(peer);
    EXPECT_THAT(answer.status(), ::testing::AnyOf(502, 504)) << answer.head << answer.body;
    EXPECT_EQ(proxy.ask("GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n").body, "good");
    EXPECT_LT(resident(), before + (std::size_t{64} << 20));
    peer.close();
    proxy.stop();
  }
  ::unsetenv("SSL_CERT_FILE");
}

}  // namespace
}  // namespace pinhole::pep
