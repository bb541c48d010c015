// SPDX-License-Identifier: Apache-2.0
#include "http/request.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

std::string crlf(std::string text) { return text + "\r\n\r\n"; }

/// "ok", or "code status: detail".
std::string outcome(const Parsed<RequestHead>& result) {
  if (result) return "ok";
  const Fault& f = result.error();
  return fmt::format("{} {}: {}", f.code, f.status, f.detail);
}
std::string proxy(const std::string& head) { return outcome(parse_proxy_request(head)); }

/// A GET with more header lines.
std::string with(const std::string& lines) {
  return proxy("GET http://a.com/ HTTP/1.1\r\nHost: a.com\r\n" + lines + "\r\n");
}
std::string post(const std::string& lines) {
  return proxy("POST http://a.com/ HTTP/1.1\r\nHost: a.com\r\n" + lines + "\r\n");
}

TEST(RequestHead, AbsoluteFormIsUnderstood) {
  const auto head =
      parse_proxy_request(crlf("GET http://A.com:8080/x/%7ey?q=1 HTTP/1.1\r\nHost: "
                               "a.COM:8080\r\nAccept:  */* \t\r\nX-Empty:"));
  ASSERT_TRUE(head) << outcome(head);
  EXPECT_EQ(head->method, "GET");
  EXPECT_EQ(head->form, Form::absolute);
  EXPECT_EQ(head->url.text(), "http://a.com:8080/x/~y?q=1");
  EXPECT_EQ(head->headers,
            (std::vector<Header>{{"Host", "a.COM:8080"}, {"Accept", "*/*"}, {"X-Empty", ""}}));
  EXPECT_EQ(head->framing, Framing::none);
  EXPECT_TRUE(head->keep_alive);
}

TEST(RequestHead, ConnectMayNameTheProxyItselfAsItsHostAndNobodyElse) {
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: 127.0.0.1:3128")), "ok");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: [::1]:3128")), "ok");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: localhost:3128")), "ok");
  EXPECT_EQ(
      proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: 8.8.8.8:3128")),
      "invalid_request 400: the Host header says \"8.8.8.8:3128\" but the target is a.com:443");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:444")),
            "invalid_request 400: the Host header says \"a.com:444\" but the target is a.com:443");
  EXPECT_EQ(proxy(crlf("GET http://a.com/ HTTP/1.1\r\nHost: 127.0.0.1:3128")),
            "invalid_request 400: the Host header says \"127.0.0.1:3128\" but the target is "
            "a.com:80");
}

TEST(RequestHead, ConnectIsHostAndPort) {
  const auto head = parse_proxy_request(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:443"));
  ASSERT_TRUE(head) << outcome(head);
  EXPECT_TRUE(head->is_connect());
  EXPECT_EQ(head->url.host.name, "a.com");
  EXPECT_EQ(head->url.port, 443);
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: a.com")), "ok");
  EXPECT_EQ(proxy(crlf("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443")), "ok");
  EXPECT_EQ(proxy(crlf("CONNECT a.com HTTP/1.1\r\nHost: a.com")),
            "invalid_url 400: CONNECT needs host:port, \"a.com\" has no port");
  EXPECT_EQ(proxy(crlf("CONNECT http://a.com/ HTTP/1.1\r\nHost: a.com")),
            "invalid_url 400: \"//a.com/\" is not a port (1 to 65535)");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443/x HTTP/1.1\r\nHost: a.com")),
            "invalid_url 400: \"443/x\" is not a port (1 to 65535)");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: b.com:443")),
            "invalid_request 400: the Host header says \"b.com:443\" but the target is a.com:443");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:443\r\nContent-Length: 5")),
            "invalid_request 400: CONNECT has no body");
  EXPECT_EQ(proxy(crlf("CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:443\r\nContent-Length: 0")),
            "ok");
}

TEST(RequestHead, OriginFormIsForTunnelsOnly) {
  EXPECT_EQ(proxy(crlf("GET /x HTTP/1.1\r\nHost: a.com")),
            "invalid_url 400: \"/x\" is not a full URL: this is a proxy, the target is "
            "http://host/path");
  EXPECT_EQ(proxy(crlf("OPTIONS * HTTP/1.1\r\nHost: a.com")).substr(0, 15), "invalid_url 400");
  const Host host = *normalise_host("a.com");
  const auto tunnel = [&](const std::string& head, std::uint16_t port = 443) {
    return outcome(parse_tunnel_request(crlf(head), Scheme::https, host, port));
  };
  EXPECT_EQ(parse_tunnel_request(crlf("GET /x?y HTTP/1.1\r\nHost: a.com"), Scheme::https, host, 443)
                ->url.text(),
            "https://a.com/x?y");
  EXPECT_EQ(tunnel("GET /x HTTP/1.1\r\nHost: a.com:8443", 8443), "ok");
  EXPECT_EQ(tunnel("GET /x HTTP/1.1\r\nHost: b.com"),
            "invalid_request 400: the Host header says \"b.com\" but the target is a.com:443");
  EXPECT_EQ(tunnel("GET /x HTTP/1.1\r\nHost: a.com", 8443),
            "invalid_request 400: the Host header says \"a.com\" but the target is a.com:8443");
  EXPECT_EQ(tunnel("GET https://a.com/x HTTP/1.1\r\nHost: a.com"),
            "invalid_url 400: \"https://a.com/x\" is not a path");
  EXPECT_EQ(tunnel("CONNECT a.com:443 HTTP/1.1\r\nHost: a.com"),
            "invalid_request 400: CONNECT within a tunnel");
  EXPECT_EQ(tunnel("GET /x HTTP/1.0"), "invalid_request 400: the Host header is missing");
}

TEST(RequestHead, RequestLineHasThreeWords) {
  const char* kShape =
      "invalid_request 400: the request line is not METHOD, one space, target, one space, version";
  EXPECT_EQ(proxy(crlf("GET  http://a.com/ HTTP/1.1\r\nHost: a.com")), kShape);
  EXPECT_EQ(proxy(crlf("GET http://a.com/\r\nHost: a.com")), kShape);
  EXPECT_EQ(proxy(crlf("GET http://a.com/ HTTP/1.1 \r\nHost: a.com")), kShape);
  EXPECT_EQ(proxy(crlf("GET http://a.com/a b HTTP/1.1\r\nHost: a.com")), kShape);
  EXPECT_EQ(proxy(crlf("GET\thttp://a.com/\tHTTP/1.1\r\nHost: a.com")), kShape);
  EXPECT_EQ(proxy("\r\n\r\n"), "invalid_request 400: an empty line within the request head");
  EXPECT_EQ(proxy(""), "invalid_request 400: the request head does not end with CRLF CRLF");
}

TEST(RequestHead, MethodsAreUpperCaseTokens) {
  EXPECT_EQ(proxy(crlf("M-SEARCH http://a.com/ HTTP/1.1\r\nHost: a.com")), "ok");
  EXPECT_EQ(proxy(crlf("post http://a.com/ HTTP/1.1\r\nHost: a.com")),
            "invalid_method 400: method \"post\" is not in upper case");
  EXPECT_EQ(proxy(crlf("GE(T http://a.com/ HTTP/1.1\r\nHost: a.com")),
            "invalid_method 400: \"GE(T\" is not a method");
  EXPECT_EQ(proxy(crlf(" http://a.com/ HTTP/1.1\r\nHost: a.com")),
            "invalid_method 400: \"\" is not a method");
  EXPECT_EQ(
      proxy(crlf(std::string(33, 'A') + " http://a.com/ HTTP/1.1\r\nHost: a.com")).substr(0, 18),
      "invalid_method 400");
}

TEST(RequestHead, VersionsAreOnePointOneAndOnePointZero) {
  for (const std::string version : {"HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1x", "HTTP/01.1"}) {
    EXPECT_EQ(proxy(crlf("GET http://a.com/ " + version + "\r\nHost: a.com")),
              "invalid_request 400: \"" + version + "\" is not HTTP/1.1 or HTTP/1.0");
  }
  const auto old = parse_proxy_request(crlf("GET http://a.com/ HTTP/1.0"));
  ASSERT_TRUE(old);
  EXPECT_FALSE(old->keep_alive);
  EXPECT_EQ(proxy(crlf("GET http://a.com/ HTTP/1.1")),
            "invalid_request 400: the Host header is missing");
}

TEST(RequestHead, LineEndsAreCrlf) {
  EXPECT_EQ(proxy("GET http://a.com/ HTTP/1.1\nHost: a.com\r\n\r\n"),
            "invalid_request 400: a line ends with a bare line feed");
  EXPECT_EQ(proxy("GET http://a.com/ HTTP/1.1\r\nHost: a.com\n\n"),
            "invalid_request 400: the request head does not end with CRLF CRLF");
  EXPECT_EQ(with("X: a\rY: b\r\n"), "invalid_request 400: a line holds a bare carriage return");
  EXPECT_EQ(with("X: a\nY: b\r\n"), "invalid_request 400: a line ends with a bare line feed");
  EXPECT_EQ(with(std::string("X: a\0b\r\n", 8)),
            "invalid_request 400: the request head holds a NUL byte");
  EXPECT_EQ(with("X: a\r\n\r\nY: b\r\n"),
            "invalid_request 400: an empty line within the request head");
}

TEST(RequestHead, HeaderLinesAreStrict) {
  EXPECT_EQ(with("X: a\r\n"), "ok");
  EXPECT_EQ(with("X:a\xC3\xA9\r\n"), "ok");
  EXPECT_EQ(with("X: a\r\n b\r\n"),
            "invalid_request 400: a header line starts with white space (obsolete folding)");
  EXPECT_EQ(with("X : a\r\n"), "invalid_request 400: white space before the colon of header \"X\"");
  EXPECT_EQ(with("X\t: a\r\n"),
            "invalid_request 400: white space before the colon of header \"X\"");
  EXPECT_EQ(with("X\r\n"), "invalid_request 400: header line \"X\" has no colon");
  EXPECT_EQ(with(": a\r\n"), "invalid_request 400: \"\" is not a header name");
  EXPECT_EQ(with("X Y: a\r\n"), "invalid_request 400: \"X Y\" is not a header name");
  EXPECT_EQ(with("X\xC3\xA9: a\r\n"), "invalid_request 400: \"Xé\" is not a header name");
  EXPECT_EQ(with("X: \x1b[2J\r\n"), "invalid_request 400: header \"X\" holds a control character");
  EXPECT_EQ(with("X: a\x7f\r\n"), "invalid_request 400: header \"X\" holds a control character");
}

TEST(RequestHead, HostSaysWhatTheTargetSays) {
  EXPECT_EQ(with("Host: a.com\r\n"), "invalid_request 400: more than one Host header");
  EXPECT_EQ(with("hOST: b.com\r\n"), "invalid_request 400: more than one Host header");
  const auto host = [](const std::string& value) {
    return proxy(crlf("GET http://a.com/ HTTP/1.1\r\nHost:" + value));
  };
  EXPECT_EQ(host(" a.com:80"), "ok");
  EXPECT_EQ(host(" A.COM."), "ok");
  EXPECT_EQ(host(" b.com"),
            "invalid_request 400: the Host header says \"b.com\" but the target is a.com:80");
  EXPECT_EQ(host(" a.com:443"),
            "invalid_request 400: the Host header says \"a.com:443\" but the target is a.com:80");
  EXPECT_EQ(host(""), "invalid_request 400: Host header: host \"\" is empty");
  EXPECT_EQ(host(" a.com, b.com"),
            "invalid_request 400: Host header: host \"a.com, b.com\" holds \",\", which no host "
            "name does");
  EXPECT_EQ(host(" u@a.com").substr(0, 33), "invalid_request 400: Host header:");
}

TEST(RequestHead, FramingHasOneMeaning) {
  EXPECT_EQ(post("Content-Length: 5\r\n"), "ok");
  EXPECT_EQ(post("Transfer-Encoding: Chunked\r\n"), "ok");
  EXPECT_EQ(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            "invalid_request 400: both Content-Length and Transfer-Encoding");
  EXPECT_EQ(post("Content-Length: 5\r\nContent-Length: 5\r\n"),
            "invalid_request 400: more than one Content-Length header");
  EXPECT_EQ(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            "invalid_request 400: more than one Transfer-Encoding header");
  for (const std::string value : {"5, 5", "+5", "-5", "5 5", "0x5", "5;", "", "1e1", "５",
                                  "9999999999999999999", "0000000000000000005"}) {
    EXPECT_EQ(post("Content-Length: " + value + "\r\n"),
              "invalid_request 400: Content-Length \"" + value + "\" is not a number of bytes");
  }
  for (const std::string value : {"gzip, chunked", "chunked, chunked", "identity", "xchunked",
                                  "chunked;q=1", "\"chunked\"", ""}) {
    EXPECT_EQ(
        post("Transfer-Encoding: " + value + "\r\n"),
        "invalid_request 400: transfer coding \"" + value + "\" is not supported; only chunked is");
  }
  EXPECT_EQ(post("Transfer-Encoding:\x0b"
                 "chunked\r\n"),
            "invalid_request 400: header \"Transfer-Encoding\" holds a control character");
  EXPECT_EQ(
      post("Transfer_Encoding: chunked\r\n"),
      "invalid_request 400: header \"Transfer_Encoding\" is easily taken for transfer-encoding");
  EXPECT_EQ(post("Content_length: 5\r\n").substr(0, 19), "invalid_request 400");
  EXPECT_EQ(post("api_key: 5\r\n"), "ok");
  EXPECT_EQ(proxy("POST http://a.com/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "invalid_request 400: HTTP/1.0 has no Transfer-Encoding");
  EXPECT_EQ(proxy("TRACE http://a.com/ HTTP/1.1\r\nHost: a.com\r\nContent-Length: 1\r\n\r\n"),
            "invalid_request 400: TRACE has no body");
}

TEST(RequestHead, FramingIsReported) {
  const auto sized = parse_proxy_request(crlf(
      "POST http://a.com/ HTTP/1.1\r\nHost: a.com\r\nContent-Length: 123\r\nExpect: 100-Continue"));
  ASSERT_TRUE(sized);
  EXPECT_EQ(sized->framing, Framing::length);
  EXPECT_EQ(sized->content_length, 123U);
  EXPECT_TRUE(sized->expects_continue);
  const auto chunked = parse_proxy_request(
      crlf("POST http://a.com/ HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked"));
  EXPECT_EQ(chunked->framing, Framing::chunked);
  EXPECT_EQ(post("Expect: 200-ok\r\n"),
            "invalid_request 400: Expect \"200-ok\" is not supported; only 100-continue is");
}

TEST(RequestHead, ConnectionCannotRemoveWhatWasDecidedOn) {
  EXPECT_EQ(with("Connection: close, X-Foo\r\n"), "ok");
  EXPECT_EQ(with("Connection: Host\r\n"), "invalid_request 400: the Connection header names host");
  EXPECT_EQ(with("Connection: keep-alive\r\nConnection: , Content-Length\r\n"),
            "invalid_request 400: the Connection header names content-length");
  EXPECT_EQ(with("Connection: a b\r\n"),
            "invalid_request 400: the Connection header holds \"a b\"");
  EXPECT_FALSE(parse_proxy_request(
                   "GET http://a.com/ HTTP/1.1\r\nHost: a.com\r\nConnection: x, CLOSE\r\n\r\n")
                   ->keep_alive);
}

TEST(RequestHead, MethodsThatHeadersReplaceAreReported) {
  const auto overriding = [](const std::string& lines) {
    const auto head =
        parse_proxy_request(crlf("POST http://a.com/ HTTP/1.1\r\nHost: a.com\r\n" + lines));
    return head ? overriding_methods(head->headers) : std::vector<std::string>{"refused"};
  };
  EXPECT_EQ(overriding("X: 1"), std::vector<std::string>{});
  EXPECT_EQ(overriding("x-http-method-override: delete"), std::vector<std::string>{"DELETE"});
  EXPECT_EQ(overriding("X-HTTP-Method: PUT\r\nX-Method-Override: PATCH"),
            (std::vector<std::string>{"PUT", "PATCH"}));
}

TEST(RequestHead, SizesAreBounded) {
  std::string many;
  for (int i = 0; i < 127; ++i) many += "X: 1\r\n";
  EXPECT_EQ(with(many), "ok");  // with Host: 128
  EXPECT_EQ(with(many + "X: 1\r\n"), "constraint_violation 431: more than 128 header fields");
  EXPECT_EQ(with("X: " + std::string(70'000, 'a') + "\r\n"),
            "constraint_violation 431: the request head is longer than 65536 bytes");
  EXPECT_EQ(with("X: " + std::string(60'000, 'a') + "\r\n"), "ok");
  EXPECT_EQ(
      proxy(crlf("GET http://a.com/" + std::string(20'000, 'a') + " HTTP/1.1\r\nHost: a.com")),
      "constraint_violation 431: the request target is longer than 16384 bytes");
}

TEST(FindHeadEnd, FindsTheEmptyLine) {
  const std::string head = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
  const HeadLimits limits;
  EXPECT_EQ(*find_head_end(head + "body", limits), head.size());
  for (std::size_t cut = 0; cut < head.size(); ++cut) {
    EXPECT_EQ(*find_head_end(head.substr(0, cut), limits), std::nullopt) << cut;
    EXPECT_EQ(*find_head_end(head, limits, cut), head.size()) << cut;
  }
  EXPECT_EQ(**find_head_end("GET / HTTP/1.1\n\nX", limits), 16U);
  EXPECT_EQ(**find_head_end("GET / HTTP/1.1\n\r\nX", limits), 17U);
}

TEST(FindHeadEnd, StopsEarly) {
  const HeadLimits limits{.head_bytes = 100};
  EXPECT_EQ(find_head_end("\x16\x03\x01", limits).error().detail,
            "this is a TLS handshake; the proxy itself speaks plain HTTP");
  EXPECT_EQ(find_head_end("\r\nGET", limits).error().code, kInvalidRequest);
  EXPECT_EQ(find_head_end(std::string_view("\0", 1), limits).error().code, kInvalidRequest);
  EXPECT_EQ(find_head_end(std::string(99, 'A'), limits).value(), std::nullopt);
  EXPECT_EQ(find_head_end(std::string(100, 'A'), limits).error().status, 431);
  EXPECT_EQ(find_head_end(std::string(97, 'A') + "\r\n\r\n", limits).error().status, 431);
  EXPECT_EQ(find_head_end(std::string(96, 'A') + "\r\n\r\n", limits).value(), 100U);
}

TEST(HeadersForUpstream, HopByHopEndsHere) {
  const std::vector<Header> in = {{"Host", "a.com"},
                                  {"Accept", "*/*"},
                                  {"Connection", "X-Secret-Hop, te"},
                                  {"Keep-Alive", "5"},
                                  {"X-Secret-Hop", "1"},
                                  {"TE", "trailers"},
                                  {"Transfer-Encoding", "c"},
                                  {"Upgrade", "websocket"},
                                  {"Proxy-Authorization", "Basic x"},
                                  {"Proxy-Connection", "k"},
                                  {"Content-Length", "5"},
                                  {"Content-Type", "a/b"},
                                  {"Expect", "100-continue"},
                                  {"Authorization", "B"},
                                  {"Trailer", "x"},
                                  {"HTTP2-Settings", "AA"},
                                  {"X-A", "1"},
                                  {"X-A", "2"},
                                  {"X-Original-URL", "/admin"}};
  EXPECT_EQ(headers_for_upstream(in), (std::vector<Header>{{"Accept", "*/*"},
                                                           {"Content-Type", "a/b"},
                                                           {"Authorization", "B"},
                                                           {"X-A", "1"},
                                                           {"X-A", "2"}}));
}

TEST(HeadersForClient, HopByHopAndFramingEndHere) {
  const std::vector<Header> in = {{"Server", "n"},          {"Content-Length", "5"},
                                  {"connection", "x-hop"},  {"X-Hop", "1"},
                                  {"Set-Cookie", "a=b"},    {"Set-Cookie", "c=d"},
                                  {"Proxy-Status", "fake"}, {"Proxy-Authenticate", "Basic"},
                                  {"Alt-Svc", "h3=:443"},   {"Transfer-Encoding", "chunked"}};
  EXPECT_EQ(headers_for_client(in),
            (std::vector<Header>{{"Server", "n"}, {"Set-Cookie", "a=b"}, {"Set-Cookie", "c=d"}}));
}

TEST(RequestHead, WebSocketIsTheOneUpgradeThatIsTaken) {
  const auto head = [](std::string_view start, std::string more) {
    if (!more.contains("Sec-"))
      more += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    return parse_proxy_request(
        fmt::format("{} http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{}\r\n", start, more));
  };
  const auto asked = head("GET", "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n");
  ASSERT_TRUE(asked.has_value());
  EXPECT_TRUE(asked->asks_websocket);
  for (const std::string_view more :
       {"Connection: Upgrade\r\nUpgrade: h2c\r\n", "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
        "8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
        "13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n"})
    EXPECT_FALSE(head("GET", std::string(more)).value().asks_websocket) << more;
  for (const std::string_view start : {"POST", "HEAD"}) {
    const auto refused = head(start, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, "invalid_request");
  }
  EXPECT_FALSE(head("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n")
                   .has_value());
}

}  // namespace
}  // namespace pinhole::http
