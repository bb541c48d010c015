// SPDX-License-Identifier: Apache-2.0
// Connections that the guest's agent carries for programs that know of no proxy: a CONNECT with the
// agent's word about the program, and in it whatever the program says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "pep/h2_harness.h"
#include "pep/harness.h"

namespace pinhole::pep {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";
constexpr std::string_view kCurl = "program=\"curl\"; uid=1000; pid=123";
constexpr std::string_view kCurlClaimed = R"("claim":{"program":"curl","uid":1000,"pid":123})";

std::string connect_to(const std::string& target, std::string_view claim = kCurl) {
  return fmt::format("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nPinhole-Client: {1}\r\n\r\n", target,
                     claim);
}
std::string get(const std::string& path, const std::string& host = "origin.test",
                std::string_view more = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", path, host, more);
}

/// How often `part` stands in `text`.
int count_of(std::string_view text, std::string_view part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Keeps what it is asked for.
class Seen {
 public:
  std::string answer(const std::string& head) {
    const std::lock_guard lock(mutex_);
    all_ += head;
    return testing::ok(head.substr(0, head.find(' ', 5)));
  }
  std::string all() {
    const std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  std::mutex mutex_;
  std::string all_;
};

class Captured : public ::testing::TestWithParam<bool> {
 protected:
  Peer connect(Proxy& proxy, const std::string& target, std::string_view claim = kCurl) {
    Peer peer = proxy.connect();
    peer.send(connect_to(target, claim));
    EXPECT_EQ(peer.read_until("\r\n\r\n"), kEstablished) << target;
    return peer;
  }

  Seen seen_;
  Origin origin_{
      testing::answer_each([this](const std::string& head) { return seen_.answer(head); })};
};

/// With an authority and without: plain HTTP needs none.
INSTANTIATE_TEST_SUITE_P(WithAuthority, Captured, ::testing::Bool());

TEST_P(Captured, PlainRequestsOnPort80AreDecidedOneByOne) {
  Proxy proxy({.policy = testing::policy_for(origin_.port(), "\"GET http://origin.test/open/**\""),
               .authority = GetParam()});
  Peer peer = connect(proxy, "origin.test:80");
  for (int i = 0; i < 2; ++i) {
    peer.send(get("/open/x"));
    EXPECT_EQ(read_answer(peer).body, "GET /open/x");
    peer.send(get("/closed"));
    const Answer refused = read_answer(peer);
    EXPECT_EQ(refused.status(), 403);
    EXPECT_THAT(refused.body, HasSubstr(R"("code":"denied_by_policy")"));
    EXPECT_THAT(refused.body, HasSubstr("pinhole policy explain GET http://origin.test/closed"));
  }
  EXPECT_EQ(origin_.connections(), 1);
  peer.close();
  const std::string audit = proxy.audit_text();
  EXPECT_EQ(count_of(audit, R"("action":"intercept")"), 1);
  EXPECT_EQ(count_of(audit, R"("action":"allow")"), 2);
  EXPECT_EQ(count_of(audit, R"("action":"deny")"), 2);
}

TEST_P(Captured, RefusedPort80IsAnsweredInsideAndRecordedOnce) {
  Proxy proxy(
      {.policy = testing::policy_for(origin_.port(), "origin.test"), .authority = GetParam()});
  Peer peer = connect(proxy, "other.test:80");
  peer.send(get("/x", "other.test", "Accept: text/html\r\n"));
  const Answer refused = read_answer(peer);
  EXPECT_EQ(refused.status(), 403);
  EXPECT_THAT(refused.body, HasSubstr("<h1>Pinhole: denied by policy</h1>"));
  peer.close();
  Peer allowed = connect(proxy, "origin.test:80");
  allowed.send(get("/x"));
  EXPECT_EQ(read_answer(allowed).status(), 200);
  allowed.close();
  const std::string audit = proxy.audit_text();
  EXPECT_EQ(count_of(audit, "other.test"), 1);
  EXPECT_THAT(audit, HasSubstr(R"("method":"GET","url":"http://other.test/x","rule":"default",)"
                               R"("action":"deny",)" +
                               std::string(kCurlClaimed)));
}

TEST_P(Captured, RefusedConnectInWhichNothingIsAskedIsRecordedItself) {
  Proxy proxy({.policy = "version: 1\n",
               .times = {.client_hello = std::chrono::milliseconds(100),
                         .tick = std::chrono::milliseconds(10)},
               .authority = GetParam()});
  connect(proxy, "left.test:80").close();
  // Whose protocol begins with the server's word waits for it, and not for long.
  Peer waits = connect(proxy, "waits.test:80");
  EXPECT_EQ(waits.read_all(), "");
  while (proxy.stats().denied < 2) std::this_thread::yield();
  const std::string audit = proxy.audit_text();
  for (const char* host : {"left.test:80", "waits.test:80"}) {
    EXPECT_EQ(count_of(audit, host), 1);
    EXPECT_THAT(audit, HasSubstr(fmt::format(R"("method":"CONNECT","url":"{}","rule":"default",)"
                                             R"("action":"deny",)",
                                             host)));
  }
}

TEST_P(Captured, OtherPortsAreRefusedAtOnce) {
  Proxy proxy({.policy = testing::policy_for(origin_.port(), "origin.test, \"tcp://db.test:5432\""),
               .authority = GetParam()});
  for (const char* target : {"origin.test:81", "other.test:5432", "192.0.2.1:25"}) {
    Peer peer = proxy.connect();
    peer.send(connect_to(target));
    EXPECT_EQ(read_answer(peer).status(), 403) << target;
  }
  EXPECT_EQ(count_of(proxy.audit_text(), R"("action":"deny")"), 3);
}

TEST_P(Captured, ServerThatWouldSpeakFirstIsNotWaitedForLong) {
  Origin speaks([](Peer& peer) {
    peer.send("220 mail\r\n");
    peer.read_all();
  });
  Proxy proxy({.policy = testing::policy_for(speaks.port(), "origin.test"),
               .times = {.client_hello = std::chrono::milliseconds(100),
                         .tick = std::chrono::milliseconds(10)},
               .authority = GetParam()});
  Peer peer = connect(proxy, "origin.test:80");
  EXPECT_EQ(peer.read_all(), "");
  EXPECT_EQ(speaks.connections(), 0);
}

/// Raw bytes behind a CONNECT to origin.test:80, the answer, and beside each kind bytes that differ
/// a little and are let through.
TEST_P(Captured, AttackerInsideHasNoOtherRights) {
  struct Row {
    std::string name;
    std::string bytes;
    int status = 200;
    std::string code = "";
  };
  const std::string hidden = get("/hidden");
  const std::string post = "POST / HTTP/1.1\r\nHost: origin.test\r\n";
  const std::string handshake =
      "Connection: Upgrade\r\nUpgrade: {}\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
  const std::vector<Row> rows = {
      {"a request", get("/a")},
      {"a length and a coding",
       post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 400,
       "invalid_request"},
      {"two lengths", post + "Content-Length: 2\r\nContent-Length: 60\r\n\r\n" + hidden, 400,
       "invalid_request"},
      {"chunks", post + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"},
      {"a chunk of two sizes",
       post + "Transfer-Encoding: chunked\r\n\r\n2;\nab\r\n0\r\n\r\n" + hidden, 400,
       "invalid_request"},
      {"a bare LF", "GET / HTTP/1.1\nHost: origin.test\n\n" + hidden, 400, "invalid_request"},
      {"its Host with the port", get("/a", "origin.test:80")},
      {"another Host", get("/a", "other.test"), 400, "invalid_request"},
      {"the address as Host", get("/a", "127.0.0.1"), 400, "invalid_request"},
      {"a Host on another port", get("/a", "origin.test:443"), 400, "invalid_request"},
      {"two Hosts", get("/a", "origin.test", "Host: other.test\r\n"), 400, "invalid_request"},
      {"no Host", "GET /a HTTP/1.1\r\n\r\n", 400, "invalid_request"},
      {"no Host in HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n", 400, "invalid_request"},
      {"HTTP/1.0", "GET /a HTTP/1.0\r\nHost: origin.test\r\n\r\n"},
      {"the absolute form", get("http://origin.test/a"), 400, "invalid_url"},
      {"the absolute form of another", get("http://other.test/a"), 400, "invalid_url"},
      {"a CONNECT", connect_to("origin.test:443") + hidden, 400, "invalid_request"},
      {"..", get("/a/../b"), 400, "invalid_url"},
      {"an upgrade that is ignored",
       get("/a", "origin.test", "Connection: Upgrade\r\nUpgrade: h2c\r\n")},
      {"a WebSocket where it is denied",
       get("/ws", "origin.test", fmt::format(fmt::runtime(handshake), "websocket")), 403,
       "denied_by_policy"},
      {"bytes that are no request", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "invalid_request"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Proxy proxy({.policy = fmt::format("version: 1\negress:\n  allow: [origin.test, other.test]\n"
                                       "  deny: [\"http://origin.test/ws\"]\n"
                                       "internal: [\"origin.test:80 -> 127.0.0.1:{}\"]\n",
                                       origin_.port()),
                 .authority = GetParam()});
    Peer peer = connect(proxy, "origin.test:80");
    peer.send(row.bytes);
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), row.status) << answer.body;
    if (!row.code.empty())
      EXPECT_THAT(answer.body, HasSubstr(fmt::format(R"("code":"{}")", row.code)));
    if (row.status == 400) EXPECT_TRUE(peer.at_end()) << "what follows is not read as a request";
  }
  EXPECT_THAT(seen_.all(), Not(HasSubstr("hidden")));
  EXPECT_THAT(seen_.all(), Not(HasSubstr("other.test")));
  EXPECT_THAT(seen_.all(), Not(HasSubstr("h2c")));
}

TEST_P(Captured, AddressIsDecidedAsAnAddressWhateverHostSays) {
  Proxy proxy({.policy = fmt::format("version: 1\negress: {{allow: [origin.test, 192.0.2.7]}}\n"
                                     "internal: [\"192.0.2.7:80 -> 127.0.0.1:{}\"]\n",
                                     origin_.port()),
               .authority = GetParam()});
  Peer named = connect(proxy, "192.0.2.8:80");
  named.send(get("/a"));
  EXPECT_EQ(read_answer(named).status(), 400);  // the name is allowed, but was not asked for
  Peer denied = connect(proxy, "192.0.2.8:80");
  denied.send(get("/a", "192.0.2.8"));
  EXPECT_EQ(read_answer(denied).status(), 403);
  Peer allowed = connect(proxy, "192.0.2.7:80");
  allowed.send(get("/a", "192.0.2.7"));
  EXPECT_EQ(read_answer(allowed).status(), 200);
  EXPECT_EQ(origin_.connections(), 1);
}

TEST_P(Captured, Http2WithoutTlsIsDecidedTheSameWay) {
  Proxy proxy({.policy = testing::policy_for(origin_.port(), "\"GET http://origin.test/open\""),
               .authority = GetParam()});
  testing::H2Peer peer(connect(proxy, "origin.test:80"));
  const auto ask = [&](const std::string& path) {
    return peer
        .ask({{":method", "GET"},
              {":scheme", "http"},
              {":authority", "origin.test"},
              {":path", path},
              {"pinhole-client", "program=\"wget\""}})
        .status;
  };
  EXPECT_EQ(ask("/open"), 200);
  EXPECT_EQ(ask("/closed"), 403);
  const std::string audit = proxy.audit_text();
  EXPECT_EQ(count_of(audit, kCurlClaimed), 3);
  EXPECT_THAT(audit, Not(HasSubstr("wget")));
  EXPECT_THAT(seen_.all(), Not(HasSubstr("wget")));
}

TEST(CapturedOnOtherPorts, IsAnsweredInsideWhereARuleMeansRequests) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy(
      {.policy = fmt::format(
           "version: 1\negress: {{allow: [\"http://origin.test:8080\", tcp://db.test:5432]}}\n"
           "internal: [\"origin.test:8080 -> 127.0.0.1:{}\"]\n",
           origin.port()),
       .authority = true});
  for (const auto& [host, status] :
       {std::pair("origin.test:8080", 200), {"other.test:8080", 403}}) {
    Peer peer = proxy.connect();
    peer.send(connect_to(host) + get("/", host));
    EXPECT_EQ(peer.read_until("\r\n\r\n"), kEstablished) << host;
    EXPECT_EQ(read_answer(peer).status(), status) << host;
  }
  Peer raw = proxy.connect();
  raw.send(connect_to("other.test:5432"));
  EXPECT_EQ(read_answer(raw).status(), 403);
}

TEST(CapturedOnOtherPorts, WithoutAnAuditRecordNothingIsSentEither) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test"), .audit = "/dev/full"});
  Peer allowed = proxy.connect();
  allowed.send(connect_to("origin.test:80") + get("/"));
  EXPECT_EQ(read_answer(allowed).status(), 503);
  Peer refused = proxy.connect();
  refused.send(connect_to("other.test:80") + get("/", "other.test"));
  EXPECT_EQ(refused.read_until("\r\n\r\n"), kEstablished);
  EXPECT_THAT(read_answer(refused).body, HasSubstr(R"("code":"audit_unavailable")"));
  EXPECT_EQ(origin.connections(), 0);
}

TEST(CapturedTls, OnPort80IsDecidedAsHttpsAndRefusedWithoutAnAuthority) {
  const auto policy = [](std::uint16_t port) {
    return fmt::format(
        "version: 1\negress: {{allow: [\"http://origin.test\"]}}\n"
        "internal: [\"origin.test:80 -> 127.0.0.1:{}\"]\n",
        port);
  };
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy looks({.policy = policy(origin.port()), .authority = true});
  Peer inside = looks.enter("origin.test", 80, {"http/1.1"});
  inside.send(get("/", "origin.test:80"));
  const Answer refused = read_answer(inside);
  EXPECT_EQ(refused.status(), 403);
  EXPECT_THAT(refused.body, HasSubstr("GET https://origin.test:80/"));
  Proxy blind({.policy = policy(origin.port())});
  Peer peer = blind.connect();
  peer.send(connect_to("origin.test:80") + testing::client_hello("origin.test"));
  EXPECT_EQ(peer.read_until("\r\n\r\n"), kEstablished);
  EXPECT_EQ(peer.read_all(), std::string("\x15\x03\x03\0\x02\x02\x28", 7));
  EXPECT_EQ(origin.connections(), 0);
  EXPECT_THAT(blind.audit_text(), HasSubstr(R"("code":"tls_error")"));
}

TEST(CapturedTls, PlainBytesOn443AreDecidedAsHttp) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  for (const auto& [allow, status] :
       {std::pair("\"https://origin.test\"", 403), std::pair("\"http://origin.test:443\"", 200)}) {
    Proxy proxy({.policy = testing::policy_for(origin.port(), allow), .authority = true});
    Peer peer = proxy.connect();
    peer.send(connect_to("origin.test:443") + get("/", "origin.test:443"));
    EXPECT_EQ(peer.read_until("\r\n\r\n"), kEstablished);
    EXPECT_EQ(read_answer(peer).status(), status) << allow;
  }
}

TEST(CapturedTls, RefusedHostHasOneRecordPerRequestAndOneWhereItsTlsFails) {
  Proxy proxy({.policy = "version: 1\n", .authority = true});
  for (const char* alpn : {"http/1.1", "h2"}) {
    Peer left = proxy.enter("left.test", 443, {alpn});
    left.close();
  }
  Peer asks = proxy.enter("asks.test", 443, {"http/1.1"});
  asks.send(get("/", "asks.test") + get("/", "asks.test"));
  EXPECT_EQ(read_answer(asks).status(), 403);
  EXPECT_EQ(read_answer(asks).status(), 403);
  asks.close();
  Peer broken = proxy.connect();
  broken.send(connect_to("broken.test:443") + testing::client_hello("another.test"));
  broken.read_all();
  while (proxy.sessions() > 0) std::this_thread::yield();
  const std::string audit = proxy.audit_text();
  EXPECT_EQ(count_of(audit, R"("method":"CONNECT","url":"left.test:443")"), 2);
  EXPECT_EQ(count_of(audit, "asks.test"), 2);
  EXPECT_EQ(count_of(audit, R"("method":"GET","url":"https://asks.test/")"), 2);
  EXPECT_EQ(count_of(audit, R"("method":"CONNECT","url":"broken.test:443")"), 1);
  EXPECT_THAT(audit, Not(HasSubstr("intercept")));
}

TEST(CapturedTls, FloodOfRefusedConnectsFillsNoLog) {
  Proxy proxy({.policy = "version: 1\n"});
  for (int i = 0; i < 200; ++i) {
    Peer peer = proxy.connect();
    peer.send(connect_to("a.test:80") + get("/", "a.test"));
    peer.read_until("\r\n\r\n");
    EXPECT_EQ(read_answer(peer).status(), 403);
  }
  const std::string audit = proxy.audit_text();
  EXPECT_LT(count_of(audit, "\n"), 100);
  EXPECT_THAT(audit, HasSubstr(R"("kind":"denied-coalesced")"));
}

TEST(Claim, IsWrittenDownAndGoesNoFurther) {
  Seen seen;
  Origin origin(testing::answer_each([&](const std::string& head) { return seen.answer(head); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
  const auto ask = [&](std::string_view claim) {
    return proxy
        .ask(fmt::format("GET http://origin.test/{} HTTP/1.1\r\nHost: origin.test\r\n"
                         "PINHOLE-client: {}\r\n\r\n",
                         claim.size(), claim))
        .status();
  };
  EXPECT_EQ(ask("program=\"a\\\"b\"; pid=9"), 200);
  EXPECT_EQ(ask("nonsense \x01"), 400);  // of any field
  EXPECT_EQ(ask("nonsense"), 200);
  EXPECT_EQ(ask("program=\"" + std::string(1000, 'x') + "\""), 200);
  EXPECT_THAT(seen.all(), Not(HasSubstr("inhole")));
  EXPECT_THAT(seen.all(), Not(HasSubstr("INHOLE")));
  const std::string audit = proxy.audit_text();
  EXPECT_EQ(count_of(audit, "\"claim\""), 1);
  EXPECT_THAT(audit, HasSubstr(R"("claim":{"program":"a\"b","pid":9})"));
}

TEST(Claim, OfAConnectHoldsForWhatIsInside) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test"), .authority = true});
  Peer peer = proxy.connect();
  peer.send(connect_to("origin.test:80") +
            get("/a", "origin.test", "Pinhole-Client: program=\"liar\"\r\n") + "nonsense\r\n\r\n");
  EXPECT_EQ(peer.read_until("\r\n\r\n"), kEstablished);
  EXPECT_EQ(read_answer(peer).status(), 200);
  EXPECT_EQ(read_answer(peer).status(), 400);
  const std::string audit = proxy.audit_text();
  EXPECT_EQ(count_of(audit, kCurlClaimed), 3);  // of the CONNECT, the request, and what was none
  EXPECT_THAT(audit, Not(HasSubstr("liar")));
}

TEST(Ssh, RefusalSaysHowGitGoesOverHttps) {
  Proxy proxy({.policy = "version: 1\negress: {allow: [git.test]}\n", .authority = true});
  const Answer refused = proxy.ask(connect_to("git.test:22"));
  EXPECT_EQ(refused.status(), 403);
  EXPECT_THAT(refused.body, HasSubstr("; ssh is not looked into, but git also goes over https"));
  EXPECT_THAT(
      refused.body,
      HasSubstr(
          R"("fix":"git config --global url.\"https://git.test/\".insteadOf git@git.test:")"));
  EXPECT_THAT(proxy.ask(connect_to("192.0.2.1:22")).body,
              HasSubstr("use an https:// address with git, or allow tcp://192.0.2.1:22"));
  EXPECT_THAT(
      proxy.audit_text(),
      HasSubstr(
          R"("note":"git config --global url.\"https://git.test/\".insteadOf git@git.test:")"));
}

TEST(Ssh, RuleForItsPortLetsItThrough) {
  Origin origin([](Peer& peer) { peer.send("SSH-2.0-x\r\n"); });
  Proxy proxy({.policy = fmt::format("version: 1\negress: {{allow: [\"tcp://git.test:22\"]}}\n"
                                     "internal: [\"git.test:22 -> 127.0.0.1:{}\"]\n",
                                     origin.port()),
               .authority = true});
  Peer peer = proxy.connect();
  peer.send(connect_to("git.test:22"));
  EXPECT_EQ(peer.read_until("\r\n\r\n"), kEstablished);
  EXPECT_EQ(peer.read_all(), "SSH-2.0-x\r\n");
}

}  // namespace
}  // namespace pinhole::pep
