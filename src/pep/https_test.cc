// SPDX-License-Identifier: Apache-2.0
// TLS towards the origin and through a tunnel, with independent implementations: openssl makes the
// certificates, Python is the origin and the client inside the tunnel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include "base/sha256.h"
#include "base/strings.h"
#include "pep/harness.h"
#include "pep/tls_origin.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::pep {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using testing::Proxy;

constexpr std::string_view kHandler = R"(
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("secret of " + self.path).encode()
        if self.path == "/echo": body = repr(self.headers.items()).encode()
        if self.path == "/waits":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nmessage 7\r\n")
            self.rfile.read(1)
            return
        if self.path == "/broken":
            self.wfile.write(("HTTP/1.1 200 OK\r\n" + self.headers["Authorization"] + "\r\n\r\n").encode())
            self.close_connection = True
            return
        self.send_response(200)
        if self.path == "/echo": self.send_header("X-Echo", self.headers.get("Authorization", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):  # chunked; answers whether the value came
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        body = b"yes" if b"key=sk-live-0123456789" in body else b"no"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
)";

constexpr std::string_view kTunnelScript = R"(
import socket, ssl, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])
s.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n")
head = b""
while not head.endswith(b"\r\n\r\n"): head += s.recv(1)
print(head.split(b"\r\n")[0].decode())
context = ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
try:
    tls = context.wrap_socket(s, server_hostname=sys.argv[3])
    tls.sendall(b"GET /inside HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
    data = b""
    while True:
        piece = tls.recv(4096)
        if not piece: break
        data += piece
    print(data.split(b"\r\n\r\n")[1].decode())
except ssl.SSLError as error:
    print(error.reason)
)";

class HttpsOrigin : public ::testing::Test {
 protected:
  std::string policy(std::string_view more) const { return origin_.policy(more); }
  std::string with_ca() const { return origin_.trusting_policy(); }
  std::string through_tunnel(Proxy& proxy, const std::string& server_name) {
    sys::Command client{
        .program = sys::find_program("python3").value(),
        .args = {"-c", std::string(kTunnelScript), (proxy.folder() / "door").string(),
                 origin_.ca_file().string(), server_name}};
    return sys::run(std::move(client), {.time = std::chrono::seconds(60)}).value().out;
  }

  testing::TlsOrigin origin_{testing::https_server(kHandler)};
};

TEST_F(HttpsOrigin, IsVerifiedWithTheCaOfItsHost) {
  Proxy proxy({.policy = with_ca()});
  testing::Peer peer = proxy.connect();
  for (int i = 0; i < 3; ++i) {
    peer.send("GET https://origin.test/a HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    const Answer answer = read_answer(peer);
    EXPECT_EQ(answer.status(), 200) << answer.body;
    EXPECT_EQ(answer.body, "secret of /a");
  }
  EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("url":"https://origin.test/a")"));
}

TEST_F(HttpsOrigin, IsRefusedWithoutItsCaOrUnderAnotherName) {
  Proxy without({.policy = policy("")});
  const Answer unknown =
      without.ask("GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_EQ(unknown.status(), 502);
  EXPECT_THAT(unknown.body, HasSubstr(R"("code":"tls_error")"));
  Proxy with({.policy = with_ca()});
  const Answer other = with.ask("GET https://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n");
  EXPECT_EQ(other.status(), 502);
  EXPECT_THAT(other.body, HasSubstr(R"("code":"tls_error")"));
  EXPECT_THAT(with.audit_text(), HasSubstr(R"("code":"tls_error")"));
}

TEST_F(HttpsOrigin, ConnectionsAreNotSharedBetweenNames) {
  // The same address and port, but a certificate for one name only: a reused connection would pass.
  Proxy proxy({.policy = with_ca()});
  EXPECT_EQ(proxy.ask("GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n").status(),
            200);
  EXPECT_EQ(proxy.ask("GET https://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n").status(),
            502);
  EXPECT_EQ(proxy.ask("GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n").status(),
            200);
}

TEST_F(HttpsOrigin, IsReachedThroughATunnelOnlyUnderTheRightName) {
  Proxy proxy({.policy = policy("")});
  EXPECT_EQ(through_tunnel(proxy, "origin.test"),
            "HTTP/1.1 200 Connection established\nsecret of /inside\n");
  EXPECT_EQ(through_tunnel(proxy, "other.test"),
            "HTTP/1.1 200 Connection established\nTLSV1_UNRECOGNIZED_NAME\n");
}

constexpr std::string_view kInsideScript = R"(
import socket, ssl, sys
door, ca, target, name, request = sys.argv[1:6]
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(door)
s.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
head = b""
while not head.endswith(b"\r\n\r\n"): head += s.recv(1)
if b" 200 " not in head: print(head.decode()); sys.exit()
try:
    if name != "-": s = ssl.create_default_context(cafile=ca).wrap_socket(s, server_hostname=name)
    s.sendall(request.encode().decode("unicode_escape").encode())
    data = b""
    while True:
        piece = s.recv(65536)
        if not piece: break
        data += piece
    print(data.decode())
except ssl.SSLError as error:
    print(error.reason)
)";

/// What a client reads that sends `request` inside a CONNECT to `target`, over TLS for `name`, or
/// in the clear where that is "-".
std::string ask_inside(Proxy& proxy, const std::string& target, const std::string& name,
                       const std::string& request) {
  sys::Command client{.program = sys::find_program("python3").value(),
                      .args = {"-c", std::string(kInsideScript), (proxy.folder() / "door").string(),
                               proxy.ca_file().string(), target, name, request}};
  return sys::run(std::move(client), {.time = std::chrono::seconds(60)}).value().out;
}

std::string get(std::string_view path, std::string_view more = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n{}\r\n", path,
                     more);
}

TEST_F(HttpsOrigin, RequestsInsideAConnectAreDecidedOneByOne) {
  const std::string ca = origin_.ca_file().string();
  Proxy proxy({.policy = fmt::format(
                   "version: 1\negress: {{allow: [\"GET https://origin.test/open/**\"]}}\n"
                   "internal: [\"origin.test:443 -> 127.0.0.1:{}\"]\nca: {{origin.test: {}}}\n",
                   origin_.port(), ca),
               .authority = true});
  EXPECT_THAT(ask_inside(proxy, "origin.test:443", "origin.test", get("/open/x")),
              HasSubstr("secret of /open/x"));
  const std::string refused = ask_inside(proxy, "origin.test:443", "origin.test", get("/closed"));
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 403 Forbidden"));
  EXPECT_THAT(refused, HasSubstr(R"("code":"denied_by_policy")"));
  // A host that no rule names is intercepted too, so that its refusal can be read.
  EXPECT_THAT(ask_inside(proxy, "other.test:443", "other.test",
                         "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"),
              HasSubstr(R"("code":"denied_by_policy")"));
  EXPECT_THAT(ask_inside(proxy, "other.test:81", "-", ""), HasSubstr("HTTP/1.1 403"));
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(
      audit,
      HasSubstr(R"("url":"https://origin.test/open/x","rule":"policy.yaml:2","action":"allow")"));
  EXPECT_THAT(audit, HasSubstr(R"("action":"intercept")"));
}

TEST_F(HttpsOrigin, NameInsideMustBeTheConnects) {
  Proxy proxy({.policy = with_ca(), .authority = true});
  EXPECT_EQ(ask_inside(proxy, "origin.test:443", "other.test", get("/")),
            "TLSV1_UNRECOGNIZED_NAME\n");
  EXPECT_THAT(ask_inside(proxy, "origin.test:443", "origin.test",
                         "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"),
              HasSubstr(R"("code":"invalid_request")"));
  EXPECT_THAT(ask_inside(proxy, "origin.test:443", "origin.test", get("/")),
              HasSubstr("secret of /"));
}

TEST_F(HttpsOrigin, MessageThatEndsLikeASecretBeginsDoesNotWaitForTheNext) {
  Proxy proxy({.policy = with_ca() + "secrets: {KEY: {from: \"env:KEY\", hosts: [origin.test]}}\n",
               .authority = true,
               .secrets = {{"KEY", "sk-live-0123456789abcdefXYZ"}}});  // in hexadecimal: 73…
  testing::Peer peer = proxy.connect();
  peer.send("GET https://origin.test/waits HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  peer.read_until("\r\n\r\n");
  EXPECT_EQ(peer.read_until("message "), "8\r\nmessage ");
  EXPECT_EQ(peer.read_until("7\r\n"), "\r\n1\r\n7\r\n");
}

TEST_F(HttpsOrigin, SecretGoesIntoABodyWhereThePolicyWidensIt) {
  for (const bool widened : {true, false}) {
    Proxy proxy({.policy = with_ca() + fmt::format("secrets: {{KEY: {{from: \"env:KEY\", hosts: "
                                                   "[origin.test]{}}}}}\n",
                                                   widened ? ", in: [body]" : ""),
                 .authority = true,
                 .secrets = {{"KEY", "sk-live-0123456789abcdefXYZ"}}});
    const std::string body = "key=" + proxy.placeholder("KEY");
    const Answer answer = proxy.ask(
        fmt::format("POST https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                    body.size(), body));
    if (widened) {
      EXPECT_EQ(answer.body, "yes");
      EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("kind":"end")"));
      EXPECT_THAT(proxy.audit_text(), HasSubstr(R"("secrets":["KEY"])"));
    } else {
      EXPECT_NE(answer.body, "yes");
    }
  }
}

TEST_F(HttpsOrigin, SecretGoesInAndItsEchoComesBackAsThePlaceholder) {
  const std::string value = "sk-live-0123456789abcdefXYZ";
  Proxy proxy({.policy = with_ca() + "secrets: {KEY: {from: \"env:KEY\", hosts: [origin.test]}}\n",
               .authority = true,
               .secrets = {{"KEY", value}}});
  const std::string placeholder = proxy.placeholder("KEY");
  const std::string header = "Authorization: Bearer " + placeholder + "\r\n";
  const std::string answer =
      ask_inside(proxy, "origin.test:443", "origin.test", get("/echo", header));
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("X-Echo: Bearer " + placeholder));
  EXPECT_THAT(answer, HasSubstr("'Bearer " + placeholder));
  EXPECT_EQ(answer.find(value), std::string::npos);
  const std::string broken =
      ask_inside(proxy, "origin.test:443", "origin.test", get("/broken", header));
  EXPECT_THAT(broken, HasSubstr(R"("code":"upstream_error")"));
  EXPECT_EQ(broken.find("0123456789"), std::string::npos);
  EXPECT_THAT(ask_inside(proxy, "origin.test:443", "origin.test",
                         get("/echo", "X-Other: " + placeholder + "\r\n")),
              HasSubstr(R"("code":"secret_blocked")"));
  const std::string audit = proxy.audit_text();
  EXPECT_THAT(audit, HasSubstr(R"("secrets":["KEY"])"));
  EXPECT_EQ(audit.find(value), std::string::npos);
}

TEST_F(HttpsOrigin, DigestOfABodyIsWrittenDownWhereAskedFor) {
  Proxy proxy({.policy = with_ca() + "audit: {bodies: digest, sync: batch}\n"});
  proxy.ask("GET https://origin.test/a HTTP/1.1\r\nHost: origin.test\r\n\r\n");
  EXPECT_THAT(proxy.audit_text(), HasSubstr(sha256_hex("secret of /a")));
}

TEST_F(HttpsOrigin, RateOfARuleIsKept) {
  Proxy proxy({.policy = with_ca() + "limits: {rate: 2/h}\n"});
  const std::string request = "GET https://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n";
  EXPECT_EQ(proxy.ask(request).status(), 200);
  EXPECT_EQ(proxy.ask(request).status(), 200);
  const Answer third = proxy.ask(request);
  EXPECT_EQ(third.status(), 429);
  EXPECT_EQ(third.header("retry-after"), "1800");
  EXPECT_THAT(third.body, HasSubstr(R"("code":"rate_limited")"));
}

}  // namespace
}  // namespace pinhole::pep
