// SPDX-License-Identifier: Apache-2.0
#include "http/h2_request.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

using Fields = std::vector<Header>;

/// "ok", or "code status: detail".
std::string outcome(const Parsed<RequestHead>& result) {
  if (result) return "ok";
  const Fault& f = result.error();
  return fmt::format("{} {}: {}", f.code, f.status, f.detail);
}

const Fields kGet = {
    {":method", "GET"}, {":scheme", "https"}, {":authority", "a.com"}, {":path", "/x"}};

Fields plus(Fields fields, const Fields& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}
/// kGet with one field's value changed; without it where the value is null.
Fields with(std::string_view name, const char* value) {
  Fields fields = kGet;
  for (auto at = fields.begin(); at != fields.end(); ++at) {
    if (at->name != name) continue;
    if (value == nullptr) {
      fields.erase(at);
    } else {
      at->value = value;
    }
    break;
  }
  return fields;
}
std::string proxy(const Fields& fields, bool end_stream = true) {
  return outcome(request_from_h2(fields, end_stream, nullptr));
}
std::string get(const Fields& more) { return proxy(plus(kGet, more)); }
std::string post(const Fields& more, bool end_stream = false) {
  return proxy(plus(with(":method", "POST"), more), end_stream);
}
std::string inside(const Fields& fields, std::uint16_t port = 443) {
  const Host host = *normalise_host("a.com");
  const InsideOrigin origin{.scheme = Scheme::https, .host = host, .port = port};
  return outcome(request_from_h2(fields, true, &origin));
}

TEST(H2Request, ReadsLikeAnHttp1Request) {
  const auto head = request_from_h2(
      plus(with(":path", "/x/%7ey?q=1"), {{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}}), true,
      nullptr);
  ASSERT_TRUE(head) << outcome(head);
  EXPECT_EQ(head->method, "GET");
  EXPECT_EQ(head->form, Form::absolute);
  EXPECT_EQ(head->url.text(), "https://a.com/x/~y?q=1");
  EXPECT_EQ(head->headers, (Fields{{"host", "a.com"}, {"cookie", "a=1; b=2"}, {"x", "y"}}));
  EXPECT_EQ(head->minor_version, 1);
  EXPECT_EQ(head->framing, Framing::none);
  EXPECT_TRUE(head->keep_alive);
  EXPECT_FALSE(head->accepts_trailers);
  EXPECT_FALSE(head->expects_continue);
}

TEST(H2Request, InsideATunnelOnlyItsOriginIsAskedFor) {
  EXPECT_EQ(inside(kGet), "ok");
  EXPECT_EQ(inside(with(":authority", "A.com.:443")), "ok");
  EXPECT_EQ(inside(with(":authority", "a.com:8443"), 8443), "ok");
  EXPECT_EQ(inside(with(":scheme", "http")),
            "invalid_request 400: :scheme is http within a tunnel for https");
  EXPECT_EQ(inside(with(":authority", "b.com")),
            "invalid_request 400: :authority says \"b.com\" but the target is a.com:443");
  EXPECT_EQ(inside(kGet, 8443),
            "invalid_request 400: :authority says \"a.com\" but the target is a.com:8443");
  EXPECT_EQ(inside(with(":authority", "u@a.com")).substr(0, 32),
            "invalid_request 400: :authority:");
  EXPECT_EQ(inside(with(":method", "CONNECT")), "invalid_request 400: CONNECT within a tunnel");
  const Host host = *normalise_host("a.com");
  const InsideOrigin origin{.scheme = Scheme::https, .host = host, .port = 443};
  const auto head = request_from_h2(kGet, true, &origin);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->form, Form::origin);
  EXPECT_EQ(head->url.text(), "https://a.com/x");
}

TEST(H2Request, PseudoHeadersComeFirstOnceAndAreKnown) {
  EXPECT_EQ(proxy(kGet), "ok");
  EXPECT_EQ(proxy(with(":method", nullptr)), "invalid_request 400: :method is missing");
  EXPECT_EQ(proxy(with(":scheme", nullptr)), "invalid_request 400: :scheme is missing");
  EXPECT_EQ(proxy(with(":path", nullptr)), "invalid_request 400: :path is missing");
  EXPECT_EQ(proxy(with(":authority", nullptr)), "invalid_request 400: :authority is missing");
  EXPECT_EQ(proxy(plus(with(":authority", nullptr), {{"host", "a.com"}})), "ok");
  EXPECT_EQ(get({{":path", "/x"}}), "invalid_request 400: more than one :path");
  EXPECT_EQ(get({{":authority", "a.com"}}), "invalid_request 400: more than one :authority");
  EXPECT_EQ(get({{":status", "200"}}),
            "invalid_request 400: \":status\" is not a pseudo-header of a request");
  EXPECT_EQ(get({{":protocol", "websocket"}}),
            "invalid_request 400: \":protocol\" is not a pseudo-header of a request");
  EXPECT_EQ(get({{":Path", "/x"}}),
            "invalid_request 400: \":Path\" is not a pseudo-header of a request");
  EXPECT_EQ(proxy(plus({{"accept", "*/*"}}, kGet)),
            "invalid_request 400: :method after the header fields");
  EXPECT_EQ(proxy(plus(kGet, {{"accept", "*/*"}})), "ok");
  EXPECT_EQ(proxy({}), "invalid_request 400: :method is missing");
}

TEST(H2Request, TheTargetIsOnePlace) {
  EXPECT_EQ(proxy(with(":scheme", "http")), "ok");
  EXPECT_EQ(proxy(with(":scheme", "HTTP")),
            "invalid_url 400: :scheme \"HTTP\" is not http or https");
  EXPECT_EQ(proxy(with(":scheme", "ftp")), "invalid_url 400: :scheme \"ftp\" is not http or https");
  EXPECT_EQ(proxy(with(":path", "/")), "ok");
  EXPECT_EQ(proxy(with(":path", "")), "invalid_url 400: \"\" is not a path");
  EXPECT_EQ(proxy(with(":path", "*")), "invalid_url 400: \"*\" is not a path");
  EXPECT_EQ(proxy(with(":path", "http://b.com/")),
            "invalid_url 400: \"http://b.com/\" is not a path");
  EXPECT_EQ(proxy(with(":path", "/x#y")), "invalid_url 400: the URL holds a fragment (\"#\")");
  EXPECT_EQ(proxy(with(":path", "/a/../b")).substr(0, 15), "invalid_url 400");
  EXPECT_EQ(proxy(with(":path", "/a%20b")), "ok");
  EXPECT_EQ(proxy(with(":path", "/a b")).substr(0, 15), "invalid_url 400");
  EXPECT_EQ(proxy(with(":path", "/?a b")).substr(0, 15), "invalid_url 400");
  EXPECT_EQ(proxy(with(":authority", "a.com:8080")), "ok");
  EXPECT_EQ(proxy(with(":authority", "a.com/x")).substr(0, 15), "invalid_url 400");
  EXPECT_EQ(proxy(with(":authority", "user@a.com")).substr(0, 15), "invalid_url 400");
  EXPECT_EQ(proxy(with(":authority", "")).substr(0, 15), "invalid_url 400");
}

TEST(H2Request, HostSaysWhatAuthoritySays) {
  EXPECT_EQ(get({{"host", "A.com:443"}}), "ok");
  EXPECT_EQ(get({{"host", "b.com"}}),
            "invalid_request 400: the Host header says \"b.com\" but the target is a.com:443");
  EXPECT_EQ(get({{"host", "a.com"}, {"host", "a.com"}}),
            "invalid_request 400: more than one Host header");
  EXPECT_EQ(get({{"host", ""}}).substr(0, 33), "invalid_request 400: Host header:");
}

TEST(H2Request, MethodsAreAsInHttp1) {
  EXPECT_EQ(proxy(with(":method", "PURGE")), "ok");
  EXPECT_EQ(proxy(with(":method", "get")),
            "invalid_method 400: method \"get\" is not in upper case");
  EXPECT_EQ(proxy(with(":method", "G T")), "invalid_method 400: \"G T\" is not a method");
  EXPECT_EQ(proxy(with(":method", "")), "invalid_method 400: \"\" is not a method");
  EXPECT_EQ(proxy(with(":method", "CONNECT")),
            "invalid_request 501: CONNECT over HTTP/2 is not offered");
  EXPECT_EQ(proxy({{":method", "CONNECT"}, {":authority", "a.com:443"}}),
            "invalid_request 501: CONNECT over HTTP/2 is not offered");
}

TEST(H2Request, FieldNamesAreLowerCaseTokens) {
  EXPECT_EQ(get({{"accept", "*/*"}}), "ok");
  EXPECT_EQ(get({{"Accept", "*/*"}}),
            "invalid_request 400: header \"Accept\" is not in lower case");
  EXPECT_EQ(get({{"", "x"}}), "invalid_request 400: \"\" is not a header name");
  EXPECT_EQ(get({{"a b", "x"}}), "invalid_request 400: \"a b\" is not a header name");
  EXPECT_EQ(get({{"a:b", "x"}}), "invalid_request 400: \"a:b\" is not a header name");
  EXPECT_EQ(get({{"a\r\nb", "x"}}), "invalid_request 400: \"a\\r\\nb\" is not a header name");
  EXPECT_EQ(get({{"content_length", "5"}}),
            "invalid_request 400: header \"content_length\" is easily taken for content-length");
  EXPECT_EQ(get({{"my_length", "5"}}), "ok");
}

TEST(H2Request, ValuesHoldNothingThatEndsALine) {
  EXPECT_EQ(get({{"x", "a\tb c"}}), "ok");
  EXPECT_EQ(get({{"x", "\xc3\xa9"}}), "ok");
  EXPECT_EQ(get({{"x", ""}}), "ok");
  for (const std::string& bad : {std::string("a\rb"), std::string("a\nb"), std::string("a\0b", 3),
                                 std::string("a\x1f"), std::string("\x7f")}) {
    EXPECT_EQ(get({{"x", bad}}), "invalid_request 400: header \"x\" holds a control character");
  }
  for (const char* bad : {" a", "a ", "\ta", "a\t", " "}) {
    EXPECT_EQ(get({{"x", bad}}),
              "invalid_request 400: header \"x\" begins or ends with white space");
  }
  EXPECT_EQ(proxy(with(":path", "/x\r\nhost: b")),
            "invalid_request 400: header \":path\" holds a control character");
}

TEST(H2Request, FieldsOfTheConnectionAreRefused) {
  for (const char* name :
       {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}) {
    EXPECT_EQ(get({{name, "x"}}),
              fmt::format("invalid_request 400: HTTP/2 has no header \"{}\"", name));
  }
  EXPECT_EQ(get({{"te", "trailers"}}), "ok");
  EXPECT_EQ(get({{"te", "gzip"}}),
            "invalid_request 400: TE \"gzip\" is not supported; only trailers is");
  EXPECT_EQ(get({{"te", "trailers, gzip"}}),
            "invalid_request 400: TE \"trailers, gzip\" is not supported; only trailers is");
  const auto head = request_from_h2(plus(kGet, {{"te", "trailers"}}), true, nullptr);
  EXPECT_TRUE(head->accepts_trailers);
}

TEST(H2Request, TheBodyIsFramedOneWay) {
  const auto framing = [](const Fields& more, bool end_stream) {
    return *request_from_h2(plus(with(":method", "POST"), more), end_stream, nullptr);
  };
  EXPECT_EQ(framing({}, true).framing, Framing::none);
  EXPECT_EQ(framing({}, false).framing, Framing::chunked);
  EXPECT_EQ(framing({{"content-length", "7"}}, false).framing, Framing::length);
  EXPECT_EQ(framing({{"content-length", "7"}}, false).content_length, 7U);
  EXPECT_EQ(framing({{"content-length", "0"}}, true).framing, Framing::length);
  EXPECT_EQ(post({{"content-length", "7"}}, true),
            "invalid_request 400: Content-Length is 7, but there is no body");
  EXPECT_EQ(post({{"content-length", "7"}, {"content-length", "7"}}),
            "invalid_request 400: more than one Content-Length header");
  for (const char* bad : {"7, 7", "-1", "+7", "0x7", "", "1234567890123456789"}) {
    EXPECT_EQ(
        post({{"content-length", bad}}),
        fmt::format("invalid_request 400: Content-Length \"{}\" is not a number of bytes", bad));
  }
  EXPECT_EQ(proxy(with(":method", "TRACE")), "ok");
  EXPECT_EQ(proxy(with(":method", "TRACE"), false), "invalid_request 400: TRACE has no body");
}

TEST(H2Request, ExpectIsContinueOrNothing) {
  const auto head = request_from_h2(plus(kGet, {{"expect", "100-continue"}}), false, nullptr);
  ASSERT_TRUE(head);
  EXPECT_TRUE(head->expects_continue);
  EXPECT_EQ(get({{"expect", "tea"}}),
            "invalid_request 400: Expect \"tea\" is not supported; only 100-continue is");
}

TEST(H2Request, LimitsAreKept) {
  const auto limited = [](const Fields& fields, const HeadLimits& limits) {
    return outcome(request_from_h2(fields, true, nullptr, limits));
  };
  std::size_t bytes = 0;
  for (const auto& [name, value] : kGet) bytes += name.size() + value.size() + 4;
  EXPECT_EQ(limited(kGet, {.head_bytes = bytes}), "ok");
  EXPECT_EQ(
      limited(kGet, {.head_bytes = bytes - 1}),
      fmt::format("constraint_violation 431: the request head is longer than {} bytes", bytes - 1));
  const Fields two = plus(kGet, {{"a", "b"}, {"c", "d"}});
  EXPECT_EQ(limited(two, {.headers = 2}), "ok");
  EXPECT_EQ(limited(two, {.headers = 1}), "constraint_violation 431: more than 1 header fields");
  // Crumbs are one field.
  EXPECT_EQ(limited(plus(kGet, {{"cookie", "a"}, {"cookie", "b"}}), {.headers = 1}), "ok");
  EXPECT_EQ(limited(kGet, {.target_bytes = 2}), "ok");
  EXPECT_EQ(limited(with(":path", "/xy"), {.target_bytes = 2}),
            "constraint_violation 431: the request target is longer than 2 bytes");
  EXPECT_EQ(limited(kGet, {.method_bytes = 3}), "ok");
  EXPECT_EQ(limited(with(":method", "POST"), {.method_bytes = 3}),
            "invalid_method 400: \"POST\" is not a method");
}

}  // namespace
}  // namespace pinhole::http
