// SPDX-License-Identifier: Apache-2.0
// The table of errors: each cause three times, asked of the proxy in HTTP/1.1, and in HTTP/1.1 and
// HTTP/2 inside a CONNECT that is looked into. The answer is the same each time but for the
// request's id, and a twin beside each cause is answered with 200.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <csignal>
#include <cstdlib>

#include <boost/json.hpp>

#include "pep/h2_harness.h"
#include "pep/harness.h"
#include "pep/name_server.h"
#include "pep/tls_origin.h"

namespace pinhole::pep {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using testing::Answer;
using testing::Fields;
using testing::H2Peer;
using ::testing::HasSubstr;
using testing::NameServer;
using testing::Peer;
using testing::Proxy;

constexpr std::string_view kHandler = R"(
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/broken":
            self.wfile.write(b"HTTP/1.1 wat\r\n\r\n")
            self.close_connection = True
            return
        if self.path == "/silent":
            self.rfile.read(1)
            return
        body = b"x" * (2000 if self.path == "/big" else 2)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
)";

enum class Way { plain, inside_h1, inside_h2 };
constexpr Way kWays[] = {Way::plain, Way::inside_h1, Way::inside_h2};
std::string_view name_of(Way way) {
  return way == Way::plain       ? "HTTP/1.1"
         : way == Way::inside_h1 ? "HTTP/1.1 inside"
                                 : "HTTP/2 inside";
}

struct Question {
  std::string method = "GET";
  std::string host = "origin.test";
  std::string path = "/";
  Fields headers = {};
  std::string body = {};
};

struct Told {
  int status = 0;
  std::string proxy_status;
  std::string retry_after;
  std::string body;
};

Told ask_h1(Peer& peer, const Question& q, bool absolute) {
  const bool has_host = http::find_header(q.headers, "host") != nullptr;
  std::string text =
      fmt::format("{} {}{} HTTP/1.1\r\n", q.method, absolute ? "https://" + q.host : "", q.path);
  if (!has_host) text += "Host: " + q.host + "\r\n";
  for (const auto& [name, value] : q.headers) text.append(name + ": ").append(value + "\r\n");
  if (!q.body.empty()) text += fmt::format("Content-Length: {}\r\n", q.body.size());
  peer.send(text + "\r\n" + q.body);
  const Answer answer = read_answer(peer);
  return {answer.status(), answer.header("proxy-status"), answer.header("retry-after"),
          answer.body};
}

Told ask_h2(Peer peer, const Question& q) {
  H2Peer client(std::move(peer));
  Fields fields{
      {":method", q.method}, {":scheme", "https"}, {":authority", q.host}, {":path", q.path}};
  fields.insert(fields.end(), q.headers.begin(), q.headers.end());
  if (!q.body.empty()) fields.push_back({"content-length", std::to_string(q.body.size())});
  const auto reply = client.ask(fields, q.body.empty() ? nullptr : &q.body);
  return {reply.status, reply.header("proxy-status"), reply.header("retry-after"), reply.body};
}

/// `prepare` runs when the connection is there and before the question.
Told ask(Proxy& proxy, Way way, const Question& q, const std::function<void()>& prepare = {}) {
  Peer peer = way == Way::plain       ? proxy.connect()
              : way == Way::inside_h1 ? proxy.enter(q.host, 443, {"http/1.1"})
                                      : proxy.enter(q.host, 443, {"h2"});
  if (prepare) prepare();
  return way == Way::inside_h2 ? ask_h2(std::move(peer), q) : ask_h1(peer, q, way == Way::plain);
}

struct Row {
  std::string name;  // for a test's
  std::string code;
  int status;
  std::string proxy_error;
  Question refused = {};
  Question allowed = {};
  std::string rule = {};
  std::string fix = {};
  std::string more_policy = {};
  std::string retry_after = {};
};

class ErrorTable : public ::testing::TestWithParam<Row> {
 protected:
  static void SetUpTestSuite() {
    // The host's authorities take longer to read than everything else here.
    ::setenv("SSL_CERT_FILE", "/dev/null", 1);
    origin_ = new testing::TlsOrigin(testing::https_server(kHandler));
    names_ = new NameServer({{"private.test", {"93.184.216.34", "10.0.0.1"}}});
  }
  static void TearDownTestSuite() {
    ::unsetenv("SSL_CERT_FILE");
    delete std::exchange(origin_, nullptr);
    delete std::exchange(names_, nullptr);
  }

  /// Line 3 allows, line 4 denies.
  static std::string policy(const std::string& more) {
    return fmt::format(
        "version: 1\negress:\n"
        "  allow: [origin.test, stranger.test, closed.test, private.test, missing.test]\n"
        "  deny: [\"https://origin.test/denied\"]\n"
        "internal:\n"
        "  - origin.test:443 -> 127.0.0.1:{0}\n"
        "  - stranger.test:443 -> 127.0.0.1:{0}\n"
        "  - closed.test:443 -> 127.0.0.1:1\n"
        "ca: {{origin.test: {1}}}\n"
        "resolver: [\"{2}\"]\n"
        "secrets:\n"
        "  KEY: {{from: \"env:KEY\", hosts: [origin.test], placeholder: k-}}\n"
        "  NONE: {{from: \"env:NONE\", hosts: [origin.test], placeholder: n-}}\n{3}",
        origin_->port(), origin_->ca_file().string(), names_->where(), more);
  }
  static Proxy::Setup setup(const Row& row) {
    return {.policy = policy(row.more_policy),
            .times = {.connect = milliseconds(5'000),
                      .first_byte = milliseconds(300),
                      .tick = milliseconds(10)},
            .authority = true,
            .secrets = {{"KEY", "value-0123456789abcdef"}}};
  }

  static testing::TlsOrigin* origin_;
  static NameServer* names_;
};
testing::TlsOrigin* ErrorTable::origin_ = nullptr;
NameServer* ErrorTable::names_ = nullptr;

/// The placeholders of this run in place of their names in angle brackets.
Question filled(Question q, const Proxy& proxy) {
  for (auto& [name, value] : q.headers) {
    for (const std::string_view secret : {"KEY", "NONE"}) {
      const std::string mark = fmt::format("<{}>", secret);
      if (const auto at = value.find(mark); at != std::string::npos)
        value.replace(at, mark.size(), proxy.placeholder(secret));
    }
  }
  return q;
}

/// The answer's body without what differs from request to request.
json::object same_part(const Told& told) {
  json::object body = json::parse(told.body).as_object();
  EXPECT_TRUE(body.contains("request"));
  body.erase("request");
  return body;
}

std::string text_of(const json::object& body, std::string_view key) {
  const auto* value = body.if_contains(key);
  return value == nullptr ? "" : std::string(value->as_string());
}

TEST_P(ErrorTable, SameAnswerWhicheverWayWasAsked) {
  const Row& row = GetParam();
  std::optional<Told> first;
  for (const Way way : kWays) {
    SCOPED_TRACE(name_of(way));
    Proxy proxy(setup(row));
    // Before the cause, so that a rate is used up by it.
    EXPECT_EQ(ask(proxy, way, filled(row.allowed, proxy)).status, 200);
    const Told told = ask(proxy, way, filled(row.refused, proxy));
    EXPECT_EQ(told.status, row.status);
    ASSERT_THAT(told.body, ::testing::StartsWith("{"));
    const json::object body = same_part(told);
    EXPECT_EQ(text_of(body, "code"), row.code);
    EXPECT_EQ(text_of(body, "rule"), row.rule);
    EXPECT_EQ(text_of(body, "fix"), row.fix);
    EXPECT_EQ(body.at("status").as_int64(), row.status);
    EXPECT_THAT(told.proxy_status,
                ::testing::StartsWith(fmt::format("pinhole; error={}; code={}; details=\"",
                                                  row.proxy_error, row.code)));
    EXPECT_EQ(told.retry_after, row.retry_after);
    EXPECT_THAT(proxy.audit_text(), HasSubstr(fmt::format(R"("status":{},)", row.status)));
    EXPECT_THAT(proxy.audit_text(), HasSubstr(fmt::format(R"("code":"{}")", row.code)));
    if (!first) first = told;
    EXPECT_EQ(same_part(*first), body);
    EXPECT_EQ(first->proxy_status, told.proxy_status);
  }
}

const std::vector<Row> kRows = {
    {.name = "DeniedByRule",
     .code = "denied_by_policy",
     .status = 403,
     .proxy_error = "http_request_denied",
     .refused = {.path = "/denied?x"},
     .allowed = {.path = "/other"},
     .rule = "policy.yaml:4",
     .fix = "pinhole policy explain GET https://origin.test/denied"},
    {.name = "DeniedByDefault",
     .code = "denied_by_policy",
     .status = 403,
     .proxy_error = "http_request_denied",
     .refused = {.host = "nobody.test", .path = "/a'b"},
     .rule = "default",
     .fix = R"(pinhole policy explain GET 'https://nobody.test/a'\''b')"},
    {.name = "SsrfBlocked",
     .code = "ssrf_blocked",
     .status = 403,
     .proxy_error = "destination_ip_prohibited",
     .refused = {.host = "private.test"},
     .fix = "add to your own policy file, if it is meant:  internal: [\"private.test:443 -> "
            "10.0.0.1:443\"]"},
    {.name = "SecretBlocked",
     .code = "secret_blocked",
     .status = 403,
     .proxy_error = "http_request_denied",
     .refused = {.headers = {{"x-key", "<KEY>"}}},
     .allowed = {.headers = {{"authorization", "Bearer <KEY>"}}},
     .rule = "policy.yaml:3",
     .fix = "send it in the header authorization, or set \"header: x-key\" for it in your own "
            "policy file"},
    {.name = "SecretMissing",
     .code = "secret_missing",
     .status = 403,
     .proxy_error = "http_request_denied",
     .refused = {.headers = {{"authorization", "Bearer <NONE>"}}},
     .allowed = {.headers = {{"authorization", "Bearer <KEY>"}}},
     .rule = "policy.yaml:3",
     .fix = "give it again from env:NONE: pinhole policy reload"},
    {.name = "RequestBodyOverTheLimit",
     .code = "constraint_violation",
     .status = 413,
     .proxy_error = "http_request_denied",
     .refused = {.method = "POST", .body = std::string(1025, 'x')},
     .allowed = {.method = "POST", .body = std::string(1024, 'x')},
     .rule = "policy.yaml:3",
     .more_policy = "limits: {request_body: 1KiB}\n"},
    {.name = "HeadersOverTheLimit",
     .code = "constraint_violation",
     .status = 431,
     .proxy_error = "http_request_denied",
     .refused = {.headers = {{"x", std::string(5000, 'x')}}},
     .allowed = {.headers = {{"x", std::string(3000, 'x')}}},
     .more_policy = "limits: {header_bytes: 4KiB}\n"},
    {.name = "AnswerOverTheLimit",
     .code = "constraint_violation",
     .status = 502,
     .proxy_error = "http_request_denied",
     .refused = {.path = "/big"},
     .more_policy = "limits: {response_body: 1KiB}\n"},
    {.name = "RateLimited",
     .code = "rate_limited",
     .status = 429,
     .proxy_error = "http_request_denied",
     .rule = "policy.yaml:3",
     .fix = "wait, or raise the limit in the policy",
     .more_policy = "limits: {rate: 1/h}\n",
     .retry_after = "3600"},
    {.name = "InvalidMethod",
     .code = "invalid_method",
     .status = 400,
     .proxy_error = "http_request_error",
     .refused = {.method = "get"}},
    {.name = "InvalidUrl",
     .code = "invalid_url",
     .status = 400,
     .proxy_error = "http_request_error",
     .refused = {.path = "/a/%2e%2e/b"},
     .allowed = {.path = "/a/b"}},
    {.name = "InvalidRequest",
     .code = "invalid_request",
     .status = 400,
     .proxy_error = "http_request_error",
     .refused = {.headers = {{"host", "other.test"}}},
     .allowed = {.headers = {{"host", "origin.test"}}}},
    {.name = "DnsError",
     .code = "dns_error",
     .status = 502,
     .proxy_error = "dns_error",
     .refused = {.host = "missing.test"}},
    {.name = "ConnectError",
     .code = "connect_error",
     .status = 502,
     .proxy_error = "destination_unavailable",
     .refused = {.host = "closed.test"}},
    {.name = "TlsError",
     .code = "tls_error",
     .status = 502,
     .proxy_error = "tls_protocol_error",
     .refused = {.host = "stranger.test"}},
    {.name = "UpstreamError",
     .code = "upstream_error",
     .status = 502,
     .proxy_error = "http_protocol_error",
     .refused = {.path = "/broken"}},
    {.name = "Timeout",
     .code = "timeout",
     .status = 504,
     .proxy_error = "http_response_timeout",
     .refused = {.path = "/silent"}},
};
INSTANTIATE_TEST_SUITE_P(Policy, ErrorTable, ::testing::ValuesIn(kRows),
                         [](const auto& info) { return info.param.name; });

/// No file of this process may grow while this lives.
class NoMoreFiles {
 public:
  NoMoreFiles() : before_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    const rlimit none{.rlim_cur = 0, .rlim_max = limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~NoMoreFiles() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, before_);
  }
  NoMoreFiles(const NoMoreFiles&) = delete;
  NoMoreFiles& operator=(const NoMoreFiles&) = delete;

 private:
  rlimit limit_ = {};
  void (*before_)(int);
};

TEST_F(ErrorTable, AuditUnavailableIsTheSameWhicheverWayWasAsked) {
  Proxy proxy(setup({}));
  std::optional<Told> first;
  for (const Way way : kWays) {
    SCOPED_TRACE(name_of(way));
    EXPECT_EQ(ask(proxy, way, {}).status, 200);
    Told told;
    {
      std::optional<NoMoreFiles> full;
      told = ask(proxy, way, {}, [&] { full.emplace(); });
    }
    EXPECT_EQ(told.status, 503);
    EXPECT_EQ(text_of(same_part(told), "code"), "audit_unavailable");
    EXPECT_THAT(told.proxy_status,
                HasSubstr("error=proxy_internal_error; code=audit_unavailable;"));
    if (!first) first = told;
    EXPECT_EQ(same_part(*first), same_part(told));
    EXPECT_EQ(first->proxy_status, told.proxy_status);
  }
}

TEST_F(ErrorTable, EchIsForTunnelsAloneAndToldByAnAlert) {
  for (const bool ech : {true, false}) {
    Proxy proxy({.policy = fmt::format(
                     "version: 1\negress: {{allow: [{{host: origin.test, tls: tunnel}}]}}\n"
                     "internal: [\"origin.test:443 -> 127.0.0.1:{}\"]\n",
                     origin_->port()),
                 .authority = true});
    Peer peer = proxy.connect();
    peer.send("CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n" +
              testing::client_hello("origin.test", ech));
    EXPECT_NE(peer.read_until("\r\n\r\n"), "");
    // Ours says access_denied (49); the twin's alert is the origin's, about this poor handshake.
    const std::string alert = peer.read_exactly(7);
    EXPECT_EQ(alert == std::string("\x15\x03\x03\0\x02\x02\x31", 7), ech);
    peer.close();
    EXPECT_EQ(proxy.audit_text().contains(R"("code":"ech_not_allowed")"), ech);
  }
}

}  // namespace
}  // namespace pinhole::pep
