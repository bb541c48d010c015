// SPDX-License-Identifier: Apache-2.0
// A guest that tries to get a secret's value out, or to bring it where it may not go, and an origin
// that sends it back in every spelling. Beside each the use that works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/harness.h"
#include "secret/encoding.h"

namespace pinhole::pep {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Origin;
using testing::Peer;
using testing::Proxy;

constexpr std::string_view kValue = R"(sk-live/"0123+4567\89abcdef)";

std::string percent_all(std::string_view text) {
  std::string out;
  for (const char c : text) out += fmt::format("%{:02x}", static_cast<unsigned char>(c));
  return out;
}
std::string json_all(std::string_view text) {
  std::string out;
  for (const char c : text) out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
  return out;
}
std::string base64_after(std::size_t before) {
  return secret::base64_encode(std::string(before, '.') + std::string(kValue) + "..");
}

std::vector<std::string> spellings() {
  return {std::string(kValue), secret::percent_encode(kValue),
          percent_all(kValue), secret::json_escape(kValue),
          json_all(kValue),    base64_after(0),
          base64_after(1),     base64_after(2)};
}

/// What no guest may read: a piece of the value in each spelling, the longest that no neighbour of
/// it changes.
std::vector<std::string> pieces() {
  std::vector<std::string> out = {"0123+4567", secret::percent_encode(kValue), percent_all(kValue),
                                  secret::json_escape(kValue), json_all(kValue)};
  for (const std::size_t before : {0U, 1U, 2U}) out.push_back(base64_after(before).substr(8, 20));
  return out;
}

void expect_nothing_of_it(const std::string& seen) {
  for (const std::string& piece : pieces()) EXPECT_THAT(seen, Not(HasSubstr(piece)));
}

class SecretMisuse : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // The host's authorities take longer to read than everything else here.
    ::setenv("SSL_CERT_FILE", "/dev/null", 1);
  }
  static void TearDownTestSuite() { ::unsetenv("SSL_CERT_FILE"); }

  /// Says what it was asked, its bodies of 60 bytes included.
  void note(Peer& peer) {
    while (true) {
      std::string request = peer.read_until("\r\n\r\n");
      if (request.empty()) return;
      if (const auto at = request.find("Transfer-Encoding: chunked"); at != std::string::npos)
        request += peer.read_until("0\r\n\r\n");
      if (const auto at = request.find("Content-Length: "); at != std::string::npos)
        request += peer.read_exactly(std::stoul(request.substr(at + 16)));
      {
        const std::lock_guard lock(mutex_);
        asked_ += request;
      }
      if (!peer.send(testing::ok("fine"))) return;
    }
  }
  std::string asked() {
    const std::lock_guard lock(mutex_);
    return std::exchange(asked_, {});
  }

  /// KEY goes to origin.test, WIDE there also into queries and bodies.
  [[nodiscard]] std::string policy(std::string_view allow = "origin.test, other.test") const {
    return fmt::format(
        "version: 1\negress: {{allow: [{}]}}\n"
        "internal:\n"
        "  - origin.test:443 -> 127.0.0.1:{}\n  - other.test:443 -> 127.0.0.1:{}\n"
        "  - origin.test:80 -> 127.0.0.1:{}\n"
        "ca: {{origin.test: {}, other.test: {}}}\n"
        "secrets:\n"
        "  KEY: {{from: \"env:KEY\", hosts: [origin.test], placeholder: k-}}\n"
        "  WIDE: {{from: \"env:WIDE\", hosts: [origin.test], placeholder: w-, in: [query, "
        "body]}}\n",
        allow, tls_.port(), other_.port(), plain_.port(), side_.ca_file().string(),
        side_.ca_file().string());
  }
  static Proxy::Setup with_values(std::string policy) {
    return {.policy = std::move(policy),
            .authority = true,
            .secrets = {{"KEY", std::string(kValue)}, {"WIDE", "wide-0123456789abcdef"}}};
  }

  std::mutex mutex_;
  std::string asked_;
  testing::TlsSide side_;
  Origin plain_{[this](Peer& peer) { note(peer); }};
  Origin tls_{testing::over_tls(side_, [this](Peer& peer) { note(peer); })};
  Origin other_{
      testing::over_tls(side_, [this](Peer& peer) { note(peer); }, {"http/1.1"}, "other.test")};
};

/// `{K}` and `{W}` in it become the placeholders.
std::string filled(std::string text, const Proxy& proxy) {
  for (const auto& [mark, name] : {std::pair("{K}", "KEY"), std::pair("{W}", "WIDE")}) {
    for (std::size_t at = 0; (at = text.find(mark)) != std::string::npos;)
      text.replace(at, 3, proxy.placeholder(name));
  }
  return text;
}

TEST_F(SecretMisuse, EachWrongWayIsRefusedBesideTheRightOne) {
  struct Row {
    std::string name;
    std::string request;
    std::string_view code = "";  // none: it goes
    std::string origin_sees = "";
  };
  const std::string body = R"({"key":"{W}"})";
  const auto with_body = [](std::string_view text) {
    // The placeholders are as long as each other: two letters, the mark, 32 digits.
    const std::size_t length = text.size() - 3 + 42;
    return fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", length,
                       text);
  };
  const auto get = [](std::string_view target, std::string_view host, std::string_view fields) {
    return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", target, host, fields);
  };
  const std::string at = "https://origin.test/";
  const std::string value(kValue);
  const std::vector<Row> rows = {
      {"its header", get(at, "origin.test", "Authorization: Bearer {K}\r\n"), "",
       "Authorization: Bearer " + value},
      {"http", get("http://origin.test/", "origin.test", "Authorization: Bearer {K}\r\n"),
       "secret_blocked"},
      {"another header", get(at, "origin.test", "X-Key: {K}\r\n"), "secret_blocked"},
      {"a cookie", get(at, "origin.test", "Cookie: a={K}\r\n"), "secret_blocked"},
      {"another host", get("https://other.test/", "other.test", "Authorization: Bearer {K}\r\n"),
       "secret_blocked"},
      {"another host, no secret", get("https://other.test/", "other.test", "Authorization: x\r\n"),
       "", "Authorization: x"},
      {"the path", get(at + "{K}", "origin.test", ""), "secret_blocked"},
      {"the query", get(at + "?k={K}", "origin.test", ""), "secret_blocked"},
      {"the query, where it may go", get(at + "?k={W}", "origin.test", ""), "",
       "?k=wide-0123456789abcdef"},
      {"TRACE", "TRACE" + get(at, "origin.test", "Authorization: Bearer {K}\r\n").substr(3),
       "secret_blocked"},
      {"TRACE without it", "TRACE" + get(at, "origin.test", "").substr(3), "", "TRACE / HTTP/1.1"},
      {"a body, where it may not go",
       "POST " + at + " HTTP/1.1\r\nHost: origin.test\r\n" + with_body(R"({"key":"{K}"})"), "",
       R"({"key":"k-PINHOLE_)"},
      {"a body, where it may go",
       "POST " + at + " HTTP/1.1\r\nHost: origin.test\r\n" + with_body(body), "",
       R"({"key":"wide-0123456789abcdef"})"},
      {"a body over http",
       "POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n" + with_body(body), "",
       R"({"key":"w-PINHOLE_)"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Proxy proxy(with_values(policy()));
    const Answer answer = proxy.ask(filled(row.request, proxy));
    const std::string seen = asked();
    if (row.code.empty()) {
      EXPECT_EQ(answer.status(), 200) << answer.body;
      EXPECT_THAT(seen, HasSubstr(row.origin_sees));
    } else {
      EXPECT_EQ(answer.status(), 403);
      EXPECT_THAT(answer.body, HasSubstr(fmt::format(R"("code":"{}")", row.code)));
      EXPECT_EQ(seen, "") << "nothing of it goes out";
    }
    expect_nothing_of_it(answer.head + answer.body);
    const std::string audit = proxy.audit_text();
    expect_nothing_of_it(audit);
    if (!row.code.empty()) EXPECT_THAT(audit, HasSubstr(fmt::format(R"("code":"{}")", row.code)));
  }
}

TEST_F(SecretMisuse, TunnelPassesThePlaceholderAndNeverTheValue) {
  Proxy proxy(with_values(policy("{host: origin.test, tls: tunnel}")));
  Peer peer = proxy.connect();
  peer.send("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
  EXPECT_NE(peer.read_until("\r\n\r\n"), "");
  ASSERT_TRUE(peer.start_tls(side_.ca_file(), "origin.test")) << "the origin's own certificate";
  peer.send(
      filled("GET / HTTP/1.1\r\nHost: origin.test\r\nAuthorization: Bearer {K}\r\n\r\n", proxy));
  EXPECT_EQ(read_answer(peer).status(), 200);
  EXPECT_THAT(asked(), HasSubstr("Authorization: Bearer " + proxy.placeholder("KEY")));
}

TEST_F(SecretMisuse, RangeIsTakenAwayWhereAnAnswerHasToBeSearched) {
  Proxy proxy(with_values(policy()));
  const std::string fields = "Range: bytes=5-9\r\nIf-Range: \"x\"\r\nAccept-Encoding: gzip\r\n\r\n";
  EXPECT_EQ(proxy
                .ask(filled("GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
                            "Authorization: {K}\r\n" +
                                fields,
                            proxy))
                .body,
            "fine");
  const std::string with_secret = asked();
  EXPECT_THAT(with_secret, Not(HasSubstr("ange: ")));
  EXPECT_THAT(with_secret, Not(HasSubstr("gzip")));
  EXPECT_THAT(with_secret, HasSubstr("ccept-encoding: identity"));
  proxy.ask("GET https://other.test/ HTTP/1.1\r\nHost: other.test\r\n" + fields);
  EXPECT_THAT(asked(), HasSubstr("Range: bytes=5-9\r\nIf-Range: \"x\"\r\nAccept-Encoding: gzip"));
}

/// An answer with `text` in every place that an answer has, its body in pieces of `piece` bytes.
std::string echo(const std::string& text, std::size_t piece) {
  std::string out = "HTTP/1.1 103 Early " + text + "\r\nX-Hint: " + text + "\r\n\r\n";
  out += "HTTP/1.1 200 Fine " + text + "\r\nX-Echo: a " + text +
         " b\r\nETag: \"1\"\r\nContent-Digest: sha-256=:x:\r\nLocation: https://a.test/?k=" + text +
         "\r\nSet-Cookie: k=" + text + "; Path=/\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string body = "before " + text + " between " + text + text + " after";
  for (std::size_t at = 0; at < body.size(); at += piece) {
    const std::string part = body.substr(at, piece);
    out += fmt::format("{:x}\r\n{}\r\n", part.size(), part);
  }
  return out + "0\r\nX-Trailer: " + text + "\r\n\r\n";
}

TEST_F(SecretMisuse, EchoInEverySpellingBecomesThePlaceholder) {
  std::string answer_text;
  Origin echoing(testing::over_tls(side_, [&](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    EXPECT_THAT(head, HasSubstr(kValue));
    peer.send(answer_text);
    peer.read_all();
  }));
  const std::string rules = fmt::format(
      "version: 1\negress: {{allow: [origin.test]}}\n"
      "internal: [\"origin.test:443 -> 127.0.0.1:{}\"]\nca: {{origin.test: {}}}\n"
      "secrets: {{KEY: {{from: \"env:KEY\", hosts: [origin.test], placeholder: k-}}}}\n",
      echoing.port(), side_.ca_file().string());
  for (const std::string& spelling : spellings()) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{10'000}}) {
      SCOPED_TRACE(fmt::format("{} in pieces of {}", spelling, piece));
      answer_text = echo(spelling, piece);
      Proxy proxy({.policy = rules, .authority = true, .secrets = {{"KEY", std::string(kValue)}}});
      const std::string placeholder = proxy.placeholder("KEY");
      Peer peer = proxy.connect();
      peer.send(
          "GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nTE: trailers\r\n"
          "Connection: close, TE\r\nAuthorization: Bearer " +
          placeholder + "\r\n\r\n");
      const std::string seen = peer.read_all();
      expect_nothing_of_it(seen);
      EXPECT_THAT(seen, HasSubstr("HTTP/1.1 200 "));
      EXPECT_THAT(seen, HasSubstr("X-Echo: a "));
      EXPECT_THAT(seen, HasSubstr(placeholder));
      EXPECT_THAT(seen, Not(HasSubstr("ETag")));
      EXPECT_THAT(seen, Not(HasSubstr("Digest")));
      expect_nothing_of_it(proxy.audit_text());
    }
  }
}

}  // namespace
}  // namespace pinhole::pep
