// SPDX-License-Identifier: Apache-2.0
// An attacker in the guest who speaks HTTP/1.1: raw bytes, the code that answers them, and beside
// each kind bytes that differ a little and are let through. What the parser says about each part
// is tested closer in http/*_test.cc; HTTP/2 is in h2_attack_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/harness.h"

namespace pinhole::pep {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

using namespace std::string_literals;

struct Row {
  std::string name;
  std::string bytes;
  int status = 200;
  std::string_view code = "";  // none: it is let through
};

constexpr std::string_view kRequest = "invalid_request";
constexpr std::string_view kUrl = "invalid_url";
constexpr std::string_view kMethod = "invalid_method";
constexpr std::string_view kLimit = "constraint_violation";
constexpr std::string_view kDenied = "denied_by_policy";

std::string get(const std::string& fields) {
  return "GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n" + fields + "\r\n";
}
std::string post(const std::string& fields, const std::string& body = "") {
  return "POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n" + fields + "\r\n" + body;
}
std::string line(const std::string& request_line) {
  return request_line + "\r\nHost: origin.test\r\n\r\n";
}
std::string path(const std::string& path) {
  return line("GET http://origin.test" + path + " HTTP/1.1");
}
std::string host(const std::string& authority) {
  return "GET http://" + authority + "/ HTTP/1.1\r\nHost: " + authority + "\r\n\r\n";
}
std::string chunked(const std::string& body) {
  return post("Transfer-Encoding: chunked\r\n", body);
}

/// A second request, which nobody may be brought to see.
const std::string kHidden = "GET http://origin.test/hidden HTTP/1.1\r\nHost: origin.test\r\n\r\n";

std::vector<Row> framing() {
  return {
      {"a length", post("Content-Length: 2\r\n", "ab")},
      {"chunks", chunked("2\r\nab\r\n0\r\n\r\n")},
      {"length and coding",
       post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, kRequest},
      {"coding and length",
       post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"), 400, kRequest},
      {"two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "ab"), 400, kRequest},
      {"one length twice", post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), 400, kRequest},
      {"a list of lengths", post("Content-Length: 2, 2\r\n", "ab"), 400, kRequest},
      {"a length with a sign", post("Content-Length: +2\r\n", "ab"), 400, kRequest},
      {"a length in hexadecimal", post("Content-Length: 0x2\r\n", "ab"), 400, kRequest},
      {"a length below nothing", post("Content-Length: -1\r\n"), 400, kRequest},
      {"a length over 64 bits", post("Content-Length: 18446744073709551618\r\n"), 400, kRequest},
      {"another coding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400, kRequest},
      {"a coding like chunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400,
       kRequest},
      {"a coding after a tab", post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n")},
      {"a coding after a vertical tab",
       post("Transfer-Encoding: \x0b"
            "chunked\r\n",
            "0\r\n\r\n"),
       400, kRequest},
      {"a coding spelled with _", post("Transfer_Encoding: chunked\r\n", "0\r\n\r\n"), 400,
       kRequest},
      {"a coding of HTTP/1.0",
       "POST http://origin.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
       kRequest},
      {"Connection takes the length away",
       post("Connection: content-length\r\nContent-Length: 2\r\n", "ab"), 400, kRequest},
      {"Connection takes a field away", post("Connection: x-mine\r\nContent-Length: 2\r\n", "ab")},
      {"a body of TRACE",
       "TRACE http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 2\r\n\r\nab",
       400, kRequest},
  };
}

std::vector<Row> chunks() {
  const std::string end = "0\r\n\r\n";
  return {
      {"an extension", chunked("2;a=b\r\nab\r\n" + end)},
      {"a size of over 64 bits", chunked("10000000000000002\r\nab\r\n" + end), 400, kRequest},
      {"a size of 60 bits and more", chunked("0000000000000002\r\nab\r\n" + end), 400, kRequest},
      {"a size with 0x", chunked("0x2\r\nab\r\n" + end), 400, kRequest},
      {"a size with a sign", chunked("+2\r\nab\r\n" + end), 400, kRequest},
      {"a size below nothing", chunked("-2\r\nab\r\n" + end), 400, kRequest},
      {"a size after a blank", chunked(" 2\r\nab\r\n" + end), 400, kRequest},
      {"a size before a blank", chunked("2 \r\nab\r\n" + end), 400, kRequest},
      {"no size", chunked("\r\nab\r\n" + end), 400, kRequest},
      {"an extension without end", chunked("2;" + std::string(300, 'a') + "\r\nab\r\n" + end), 400,
       kRequest},
      {"an extension with a NUL", chunked("2;a\0b\r\nab\r\n"s + end), 400, kRequest},
      {"a size line that ends with LF", chunked("2\nab\r\n" + end), 400, kRequest},
      {"a size line that ends with CR", chunked("2\rab\r\n" + end), 400, kRequest},
      {"no CRLF after the data", chunked("2\r\nabc\r\n" + end), 400, kRequest},
      {"LF after the data", chunked("2\r\nab\n" + end), 400, kRequest},
      {"a trailer", chunked("0\r\nx-sum: 1\r\n\r\n")},
      {"a trailer that frames", chunked("0\r\nContent-Length: 5\r\n\r\n"), 400, kRequest},
      {"a trailer that authorises", chunked("0\r\nAuthorization: x\r\n\r\n"), 400, kRequest},
      {"trailers without end",
       chunked("0\r\n" +
               [] {
                 std::string many;
                 for (int i = 0; i < 40; ++i) many += "x: 1\r\n";
                 return many;
               }()),
       431, kLimit},
  };
}

std::vector<Row> lines() {
  std::string many;
  for (int i = 0; i < 127; ++i) many += "X: 1\r\n";
  return {
      {"a head", get("X: a\r\n")},
      {"a bare LF", get("X: a\nY: b\r\n"), 400, kRequest},
      {"LF alone", "GET http://origin.test/ HTTP/1.1\nHost: origin.test\n\n", 400, kRequest},
      {"a bare CR", get("X: a\rY: b\r\n"), 400, kRequest},
      {"a NUL in a value", get("X: a\0b\r\n"s), 400, kRequest},
      {"a NUL in a name", get("X\0: a\r\n"s), 400, kRequest},
      {"a folded line", get("X: a\r\n b\r\n"), 400, kRequest},
      {"a folded first line", "GET http://origin.test/ HTTP/1.1\r\n Host: origin.test\r\n\r\n", 400,
       kRequest},
      {"a blank before the colon", get("X : a\r\n"), 400, kRequest},
      {"a tab before the colon", get("X\t: a\r\n"), 400, kRequest},
      {"a line without a colon", get("X\r\n"), 400, kRequest},
      {"no name", get(": a\r\n"), 400, kRequest},
      {"a second Host", get("Host: origin.test\r\n"), 400, kRequest},
      {"Host of another", "GET http://origin.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", 400,
       kRequest},
      {"Host of another port", "GET http://origin.test/ HTTP/1.1\r\nHost: origin.test:81\r\n\r\n",
       400, kRequest},
      {"no Host", "GET http://origin.test/ HTTP/1.1\r\n\r\n", 400, kRequest},
      {"a list of hosts",
       "GET http://origin.test/ HTTP/1.1\r\nHost: origin.test, other.test\r\n\r\n", 400, kRequest},
      {"128 fields", get(many)},
      {"129 fields", get(many + "X: 1\r\n"), 431, kLimit},
      {"a line of 60 KB", get("X: " + std::string(60'000, 'a') + "\r\n")},
      {"a line of 70 KB", get("X: " + std::string(70'000, 'a') + "\r\n"), 431, kLimit},
      {"a target of 20 KB", path("/" + std::string(20'000, 'a')), 431, kLimit},
      {"an expectation", post("Expect: 200-ok\r\nContent-Length: 2\r\n", "ab"), 400, kRequest},
      {"two blanks", line("GET  http://origin.test/ HTTP/1.1"), 400, kRequest},
      {"a blank in the target", line("GET http://origin.test/a b HTTP/1.1"), 400, kRequest},
      {"HTTP/2 by its name", line("GET http://origin.test/ HTTP/2.0"), 400, kRequest},
      {"no version", line("GET http://origin.test/"), 400, kRequest},
      {"TLS where HTTP is spoken", testing::client_hello("origin.test"), 400, kRequest},
  };
}

std::vector<Row> targets() {
  return {
      {"a path", path("/a/b;c=d/%41?q=/../x")},
      {"..", path("/a/../b"), 400, kUrl},
      {".", path("/a/./b")},
      {"%2e", path("/a/%2e/b"), 400, kUrl},
      {". at the end", path("/a/."), 400, kUrl},
      {".. at the end", path("/a/.."), 400, kUrl},
      {"%2e%2e", path("/a/%2e%2E/b"), 400, kUrl},
      {".%2e", path("/a/.%2e/b"), 400, kUrl},
      {"..;a=b", path("/a/..;a=b/c"), 400, kUrl},
      {"..%2f", path("/a/..%2fb"), 400, kUrl},
      {"%2f in a name", path("/a%2fb")},
      {"//", path("/a//b")},
      {"a backslash", path("/a\\..\\b"), 400, kUrl},
      {"%5c", path("/a%5c..%5cb"), 400, kUrl},
      {"%00", path("/a%00b"), 400, kUrl},
      {"%0d%0a", path("/a%0d%0aX:b"), 400, kUrl},
      {"%252e", path("/a/%252e%252e/b"), 400, kUrl},
      {"%zz", path("/%zz"), 400, kUrl},
      {"a fragment", path("/#a"), 400, kUrl},
      {"bytes over 0x7f", path("/\xc0\xae\xc0\xae/"), 400, kUrl},
      {"a user name", line("GET http://user:pass@origin.test/ HTTP/1.1"), 400, kUrl},
      {"another host behind @", line("GET http://other.test@origin.test/ HTTP/1.1"), 400, kUrl},
      {"another scheme", line("GET ftp://origin.test/ HTTP/1.1"), 400, kUrl},
      {"a path alone", line("GET / HTTP/1.1"), 400, kUrl},
      {"*", line("OPTIONS * HTTP/1.1"), 400, kUrl},
      {"a host in capitals", host("ORIGIN.Test")},
      {"a host with a dot at its end", host("origin.test.")},
      {"a host with two dots at its end", host("origin.test.."), 400, kUrl},
      {"a host in fullwidth letters", host("ｏrigin.test")},
      {"a host in other letters", host("оrigin.test"), 403, kDenied},
      {"a host that is no UTF-8", host("origin\xff.test"), 400, kUrl},
      {"a host with a NUL", host("origin.test\0.other.test"s), 400, kRequest},
      {"a host with %", host("origin%2etest"), 400, kUrl},
      {"an address", host("127.0.0.1"), 403, kDenied},
      {"an octal address", host("0177.0.0.1"), 400, kUrl},
      {"a hexadecimal address", host("0x7f.0.0.1"), 400, kUrl},
      {"an address as one number", host("2130706433"), 400, kUrl},
      {"an address of two numbers", host("127.1"), 400, kUrl},
      {"a mapped address", host("[::ffff:127.0.0.1]"), 403, kDenied},
      {"an address with a zone", host("[fe80::1%25eth0]"), 400, kUrl},
      {"port 80", host("origin.test:80")},
      {"port 0", host("origin.test:0"), 400, kUrl},
      {"port 65536", host("origin.test:65536"), 400, kUrl},
      {"port 080", host("origin.test:080"), 400, kUrl},
      {"port with a sign", host("origin.test:+80"), 400, kUrl},
      {"TRACE", line("TRACE http://origin.test/ HTTP/1.1")},
      {"another method", line("BREW http://origin.test/ HTTP/1.1")},
      {"a method in small letters", line("get http://origin.test/ HTTP/1.1"), 400, kMethod},
      {"a method of 33 letters", line(std::string(33, 'A') + " http://origin.test/ HTTP/1.1"), 400,
       kMethod},
      {"a method with a colon", line("GE:T http://origin.test/ HTTP/1.1"), 400, kMethod},
      {"a CONNECT without a port", line("CONNECT origin.test HTTP/1.1"), 400, kUrl},
      {"a CONNECT to port 0", line("CONNECT origin.test:0 HTTP/1.1"), 400, kUrl},
  };
}

/// An origin that takes bodies in either framing and notes what it is asked for.
class Listener {
 public:
  std::string asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  void operator()(Peer& peer) {
    while (true) {
      const std::string head = peer.read_until("\r\n\r\n");
      if (head.empty()) return;
      {
        const std::lock_guard lock(mutex_);
        asked_ += head;
      }
      if (head.contains("Transfer-Encoding: chunked")) peer.read_until("0\r\n\r\n");
      if (head.contains("Content-Length: 2")) peer.read_exactly(2);
      if (!peer.send(testing::ok("x"))) return;
    }
  }

 private:
  std::mutex mutex_;
  std::string asked_;
};

void judge(const std::vector<Row>& rows) {
  Listener listener;
  Origin origin([&](Peer& peer) { listener(peer); });
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test")});
    Peer peer = proxy.connect();
    const bool refused = !row.code.empty() && row.code != kDenied;
    peer.send(row.bytes + (refused ? kHidden : ""));
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), row.status) << answer.body;
    if (refused) EXPECT_TRUE(peer.at_end()) << "what follows is not read as a request";
    if (row.code.empty()) continue;
    EXPECT_THAT(answer.body, HasSubstr(fmt::format(R"("code":"{}")", row.code)));
    EXPECT_THAT(answer.header("proxy-status"), HasSubstr(fmt::format("; code={};", row.code)));
    peer.close();
    EXPECT_THAT(proxy.audit_text(),
                ::testing::AllOf(HasSubstr(fmt::format(R"("status":{},)", row.status)),
                                 HasSubstr(fmt::format(R"("code":"{}")", row.code))));
  }
  EXPECT_THAT(listener.asked(), ::testing::Not(HasSubstr("hidden")));
}

TEST(Attacker, CannotFrameABodyInTwoWays) { judge(framing()); }
TEST(Attacker, CannotCutABodyIntoOtherChunks) { judge(chunks()); }
TEST(Attacker, CannotWriteAHeadThatReadsInTwoWays) { judge(lines()); }
TEST(Attacker, CannotSpellATargetInAnotherWay) { judge(targets()); }

TEST(Attacker, InsideAConnectHasNoOtherRights) {
  Listener listener;
  Origin origin([&](Peer& peer) { listener(peer); });
  const auto request = [](const std::string& first, const std::string& named = "origin.test") {
    return first + "\r\nHost: " + named + "\r\n\r\n";
  };
  const std::vector<Row> rows = {
      {"a path", request("GET /a HTTP/1.1")},
      {"the port it is for", request("GET /a HTTP/1.1", "origin.test:80")},
      {"another Host", request("GET /a HTTP/1.1", "other.test"), 400, kRequest},
      {"another port", request("GET /a HTTP/1.1", "origin.test:443"), 400, kRequest},
      {"no Host", "GET /a HTTP/1.1\r\n\r\n", 400, kRequest},
      {"a URL", request("GET http://origin.test/a HTTP/1.1"), 400, kUrl},
      {"a URL of another", request("GET http://other.test/a HTTP/1.1", "other.test"), 400, kUrl},
      {"a CONNECT", request("CONNECT other.test:80 HTTP/1.1", "other.test:80"), 400, kRequest},
      {"*", request("OPTIONS * HTTP/1.1"), 400, kUrl},
      {"..", request("GET /a/../b HTTP/1.1"), 400, kUrl},
      {"a method in small letters", request("get /a HTTP/1.1"), 400, kMethod},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Proxy proxy({.policy = testing::policy_for(origin.port(), "origin.test, other.test"),
                 .authority = true});
    Peer peer = proxy.connect();
    peer.send("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n");
    EXPECT_NE(peer.read_until("\r\n\r\n"), "");
    peer.send(row.bytes);
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), row.status) << answer.body;
    peer.close();
    if (row.code.empty()) continue;
    EXPECT_THAT(answer.body, HasSubstr(fmt::format(R"("code":"{}")", row.code)));
    EXPECT_THAT(proxy.audit_text(),
                ::testing::AllOf(HasSubstr(fmt::format(R"("status":{},)", row.status)),
                                 HasSubstr(fmt::format(R"("code":"{}")", row.code))));
  }
}

}  // namespace
}  // namespace pinhole::pep
