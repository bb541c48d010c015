// SPDX-License-Identifier: Apache-2.0
// Origins that speak HTTP/2, by ALPN over TLS: what reaches them, and what comes back of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/harness.h"
#include "pep/tls_origin.h"

namespace pinhole::pep {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Peer;
using testing::Proxy;

/// Answers with the request's fields in the body, except for some paths.
constexpr std::string_view kScript = R"(
import socket, ssl, sys, threading
import h2.config, h2.connection, h2.events
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/leaf.pem", sys.argv[1] + "/leaf.key")
context.set_alpn_protocols(["h2"])
def answer(connection, stream, fields, body):
    path = fields[":path"]
    if path == "/refused-call":
        connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7")], end_stream=True)
        return
    connection.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
    told = "\n".join(f"{name}: {value}" for name, value in sorted(fields.items()))
    body = (told + "\n\n").encode() + body
    for at in range(0, len(body), 16384): connection.send_data(stream, body[at:at + 16384])
    if path == "/reset": return connection.reset_stream(stream, 2)
    if path == "/trailers": return connection.send_headers(stream, [("grpc-status", "0"), ("x-sum", "abc")], end_stream=True)
    connection.end_stream(stream)
def serve(raw):
    try: tls = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError): return
    connection = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    fields, bodies = {}, {}
    try:
        tls.sendall(connection.data_to_send())
        while data := tls.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    got = {n.decode(): v.decode() for n, v in event.headers}
                    fields[event.stream_id], bodies[event.stream_id] = got, b""
                    if got[":path"] in ("/refused-call",): answer(connection, event.stream_id, got, b"")
                if isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.StreamEnded) and fields[event.stream_id][":path"] not in ("/refused-call",):
                    answer(connection, event.stream_id, fields[event.stream_id], bodies[event.stream_id])
            tls.sendall(connection.data_to_send())
    except OSError: pass
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True: threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
)";

class H2Origin : public ::testing::Test {
 protected:
  static std::string get(std::string_view path, std::string_view more = "") {
    return fmt::format("GET https://origin.test{} HTTP/1.1\r\nHost: origin.test\r\n{}\r\n", path,
                       more);
  }
  testing::TlsOrigin origin_{kScript};
  Proxy proxy_{{.policy = origin_.trusting_policy()}};
};

TEST_F(H2Origin, GetsTheRequestWithoutFieldsOfConnections) {
  Peer peer = proxy_.connect();
  for (int i = 0; i < 3; ++i) {  // the connection is used again
    peer.send(get("/a?b=c", "X-Mine: 1\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\n"));
    const Answer answer = read_answer(peer);
    ASSERT_EQ(answer.status(), 200) << answer.body;
    EXPECT_TRUE(answer.whole);
    EXPECT_THAT(answer.body, HasSubstr(":authority: origin.test\n:method: GET\n:path: "
                                       "/a?b=c\n:scheme: https\nx-mine: 1\n"));
    EXPECT_EQ(answer.header("content-type"), "text/plain");
  }
}

TEST_F(H2Origin, GetsBodiesOfKnownAndUnknownLength) {
  const std::string start = "POST https://origin.test/p HTTP/1.1\r\nHost: origin.test\r\n";
  const std::string body(300'000, 'b');
  const Answer known =
      proxy_.ask(fmt::format("{}Content-Length: {}\r\n\r\n{}", start, body.size(), body));
  ASSERT_EQ(known.status(), 200) << known.body;
  EXPECT_THAT(known.body, ::testing::EndsWith("\n\n" + body));
  EXPECT_THAT(known.body, HasSubstr("content-length: 300000"));
  const Answer unknown = proxy_.ask(
      start + "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n");
  ASSERT_EQ(unknown.status(), 200) << unknown.body;
  EXPECT_THAT(unknown.body, ::testing::EndsWith("\n\nfirstsecond"));
  EXPECT_THAT(unknown.body, Not(HasSubstr("content-length")));
  EXPECT_THAT(unknown.body, Not(HasSubstr("transfer-encoding")));
}

TEST_F(H2Origin, TrailersComeBackToWhoAsksForThem) {
  const Answer asked = proxy_.ask(get("/trailers", "TE: trailers\r\n"));
  EXPECT_THAT(asked.body, HasSubstr("te: trailers"));
  Peer peer = proxy_.connect();
  peer.send(get("/trailers", "TE: trailers\r\nConnection: close\r\n"));
  EXPECT_THAT(peer.read_all(), ::testing::EndsWith("0\r\ngrpc-status: 0\r\nx-sum: abc\r\n\r\n"));
  Peer other = proxy_.connect();
  other.send(get("/trailers", "Connection: close\r\n"));
  EXPECT_THAT(other.read_all(), ::testing::EndsWith("0\r\n\r\n"));
}

TEST_F(H2Origin, StatusOfACallEndsItBeforeItsBodyEnded) {
  const std::string start = "HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n";
  Peer peer = proxy_.connect();
  peer.send("POST https://origin.test/refused-call " + start + "5\r\nfirst\r\n");
  const Answer answer = read_answer(peer);
  EXPECT_EQ(answer.status(), 200);
  EXPECT_EQ(answer.header("grpc-status"), "7");
  EXPECT_TRUE(answer.whole);
}

TEST_F(H2Origin, AResetIsNoEnd) {
  EXPECT_THAT(proxy_.ask(get("/reset")).body, HasSubstr("INTERNAL_ERROR"));
  EXPECT_THAT(proxy_.ask(get("/whole")).body, HasSubstr(":path: /whole"));
}

}  // namespace
}  // namespace pinhole::pep
