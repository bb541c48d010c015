// SPDX-License-Identifier: Apache-2.0
// The pure parts: command line, answers, response heads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/answer.h"
#include "pep/options.h"
#include "pep/response_head.h"

namespace pinhole::pep {
namespace {

using ::testing::HasSubstr;

Result<Options> parse(std::vector<std::string_view> arguments) { return parse_options(arguments); }

TEST(PepOptions, AreReadInBothSpellings) {
  const auto options = parse({"--policy", "project=a.yaml", "--policy=b.yaml", "--policy",
                              "organisation=c=d.yaml", "--listen", "unix:/run/door", "--audit",
                              "x.jsonl", "--canary", "--control-fd", "4", "--log-level", "debug"})
                           .value();
  ASSERT_EQ(options.policies.size(), 3U);
  EXPECT_EQ(options.policies[0].kind, policy::LayerKind::project);
  EXPECT_EQ(options.policies[1].kind, policy::LayerKind::user);
  EXPECT_EQ(options.policies[2].path, "c=d.yaml");
  EXPECT_EQ(options.listen_path, "/run/door");
  EXPECT_EQ(options.control_fd, 4);
  EXPECT_TRUE(options.canary);
  EXPECT_EQ(options.log_level, LogLevel::debug);
}

TEST(PepOptions, MistakesAreNamed) {
  const auto message = [](std::vector<std::string_view> arguments) {
    return parse(std::move(arguments)).error().message;
  };
  EXPECT_EQ(message({"--audit", "x"}), "--listen is missing");
  EXPECT_EQ(message({"--listen", "unix:x"}), "--audit is missing: no decision without a record");
  EXPECT_EQ(message({"--listen", "x:1"}),
            "--listen x:1: give unix:PATH, tcp:127.0.0.1:PORT or fd:N");
  EXPECT_EQ(message({"--listen", "unix:x", "--listen", "fd:4", "--audit", "a"}),
            "--listen can be given once");
  EXPECT_EQ(message({"--listen"}), "--listen needs a value");
  EXPECT_EQ(message({"--canary=1"}), "--canary takes no value");
  EXPECT_EQ(message({"--control-fd", "1"}), "\"1\" is not a descriptor number from 3 up");
  EXPECT_EQ(message({"--polcy", "x"}), "unknown argument \"--polcy\"; did you mean --policy?");
  EXPECT_EQ(parse({"x"}).error().exit_status, 2);
}

TEST(PepOptions, PortsAreOfLoopbackAndNeedAToken) {
  const auto listen = [](std::string_view where) {
    const auto options =
        parse({"--listen", where, "--token-file", "/run/token", "--audit", "a.jsonl"});
    return options ? http::to_string(*options->listen_tcp) : options.error().message;
  };
  EXPECT_EQ(listen("tcp:127.0.0.1:3128"), "127.0.0.1:3128");
  EXPECT_EQ(listen("tcp:127.0.0.1:0"), "127.0.0.1:0");
  EXPECT_EQ(listen("tcp:[::1]:3128"), "[::1]:3128");
  for (const char* where : {"tcp:0.0.0.0:3128", "tcp:192.168.1.2:3128", "tcp:[::]:3128",
                            "tcp:[::ffff:127.0.0.1]:3128", "tcp:[fe80::1]:0"}) {
    EXPECT_EQ(listen(where),
              fmt::format("--listen {}: only 127.0.0.1 and [::1] are possible, since the token "
                          "comes in clear",
                          where));
  }
  for (const char* where : {"tcp:", "tcp:3128", "tcp:localhost:3128", "tcp:127.0.0.1",
                            "tcp:127.0.0.1:", "tcp:127.0.0.1:65536", "tcp:127.1:3128",
                            "tcp:127.0.0.1:00", "tcp:::1:3128"}) {
    EXPECT_EQ(
        listen(where),
        fmt::format("--listen {}: give an address and a port, as in tcp:127.0.0.1:3128", where));
  }
  EXPECT_EQ(parse({"--listen", "tcp:127.0.0.1:0", "--audit", "a"}).error().message,
            "--listen tcp: needs --token-file FILE: every user of this host reaches the port");
  // A unix socket has its own permissions; a token besides is possible.
  EXPECT_TRUE(parse({"--listen", "unix:x", "--audit", "a"}));
  EXPECT_TRUE(parse({"--listen", "unix:x", "--audit", "a", "--token-file", "t"}));
}

TEST(PepOptions, PlaceholdersNeedTheirSeed) {
  EXPECT_EQ(parse({"--listen", "unix:x", "--audit", "a", "--placeholders", "p"}).error().message,
            "--placeholders needs --authority DIR, which holds their seed");
  EXPECT_TRUE(
      parse({"--listen", "unix:x", "--audit", "a", "--placeholders", "p", "--authority", "d"}));
}

TEST(Answer, AsksForATokenAsHttpDoes) {
  const auto answer = make_answer({.code = "proxy_authentication_required", .detail = "d"}, {});
  EXPECT_EQ(answer.status, 407);
  EXPECT_EQ(answer.reason, "Proxy Authentication Required");
  EXPECT_EQ(*http::find_header(answer.headers, "proxy-authenticate"), "Basic realm=\"pinhole\"");
  EXPECT_EQ(http::find_header(make_answer({.code = "denied_by_policy"}, {}).headers,
                              "proxy-authenticate"),
            nullptr);
}

TEST(Answer, IsTheShapeOfEveryRefusal) {
  EXPECT_EQ(
      format_answer(
          {.code = "denied_by_policy", .detail = "no \"rule\"", .rule = "p.yaml:1", .fix = "do it"},
          {.method = "GET", .policy = "sha256:ab", .request = "r-1", .keep_alive = true}),
      "HTTP/1.1 403 Forbidden: no \"rule\"\r\n"
      "Proxy-Status: pinhole; error=http_request_denied; code=denied_by_policy; details=\"no "
      "\\\"rule\\\"\"\r\n"
      "Content-Type: application/problem+json\r\n"
      "Content-Length: 181\r\n"
      "Cache-Control: no-store\r\n"
      "\r\n"
      R"({"type":"about:blank","title":"denied by policy","status":403,"code":"denied_by_policy",)"
      R"("detail":"no \"rule\"","rule":"p.yaml:1","fix":"do it","policy":"sha256:ab","request":"r-1"})"
      "\n");
}

TEST(Answer, ToGrpcIsInFieldsThatItsClientsShow) {
  const Refusal refusal{.code = "denied_by_policy", .detail = "no \xC3\xA9 100%", .fix = "do it"};
  const auto answer = make_answer(refusal, {.method = "POST", .is_grpc = true});
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(*http::find_header(answer.headers, "grpc-status"), "7");
  EXPECT_EQ(*http::find_header(answer.headers, "grpc-message"),
            "denied_by_policy: no %C3%A9 100%25; do it");
  EXPECT_EQ(*http::find_header(answer.headers, "content-type"), "application/grpc");
  const auto plain = make_answer(refusal, {.method = "POST"});
  EXPECT_EQ(http::find_header(plain.headers, "grpc-status"), nullptr);
  EXPECT_NE(plain.body, "");
}

TEST(Answer, SaysWhyInTheStatusLineWhateverTheDetailHolds) {
  const auto line = [](std::string detail) {
    const auto answer = format_answer({.code = "tls_error", .detail = std::move(detail)}, {});
    return answer.substr(0, answer.find("\r\n"));
  };
  EXPECT_EQ(line("a\r\nSet-Cookie: b\t\xC3\xA9\x7F"),
            "HTTP/1.1 502 Bad Gateway: a??Set-Cookie: b????");
  EXPECT_EQ(line(""), "HTTP/1.1 502 Bad Gateway");
  EXPECT_EQ(line(std::string(1000, 'a')), "HTTP/1.1 502 Bad Gateway: " + std::string(300, 'a'));
}

TEST(Answer, CodesHaveTheirStatus) {
  for (const auto& [code, status] :
       std::initializer_list<std::pair<std::string_view, int>>{{"denied_by_policy", 403},
                                                               {"ssrf_blocked", 403},
                                                               {"ech_not_allowed", 403},
                                                               {"constraint_violation", 413},
                                                               {"invalid_method", 400},
                                                               {"invalid_url", 400},
                                                               {"invalid_request", 400},
                                                               {"dns_error", 502},
                                                               {"connect_error", 502},
                                                               {"tls_error", 502},
                                                               {"upstream_error", 502},
                                                               {"timeout", 504},
                                                               {"audit_unavailable", 503}}) {
    EXPECT_EQ(status_of({.code = code, .detail = ""}), status) << code;
  }
  EXPECT_EQ(status_of({.code = "constraint_violation", .status = 431, .detail = ""}), 431);
}

TEST(Answer, HostileDetailStaysInsideItsPlace) {
  const std::string detail = "a\r\nSet-Cookie: x=1\r\n\r\n<script>\x1b[2J\xff";
  const std::string json =
      format_answer({.code = "invalid_url", .detail = detail}, {.method = "GET"});
  EXPECT_EQ(json.find("\r\nSet-Cookie"), std::string::npos);
  EXPECT_THAT(json, HasSubstr("details=\"a??Set-Cookie: x=1"));
  const std::string html = format_answer({.code = "invalid_url", .detail = detail},
                                         {.method = "GET", .wants_html = true});
  EXPECT_EQ(html.find("<script>", html.find("\r\n\r\n")), std::string::npos);
  EXPECT_TRUE(
      format_answer({.code = "timeout", .detail = ""}, {.method = "HEAD"}).ends_with("\r\n\r\n"));
}

Result<ResponseHead> read_head(std::string_view text, std::size_t limit = 1000) {
  ResponseHeadReader reader(limit);
  while (true) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    const auto complete = reader.add_line(text.substr(0, end));
    if (!complete) return fail(complete.error());
    if (*complete) return reader.head();
    text.remove_prefix(end);
    if (text.empty()) return fail("cut off");
  }
}

TEST(ResponseHead, HopByHopFieldsAndFramingAreOurs) {
  const auto head = read_head(
                        "HTTP/1.1 200 Fine\x01\r\nConnection: x-hop\r\nX-Hop: "
                        "1\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\nProxy-Authenticate: "
                        "x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n")
                        .value();
  std::string out;
  append_response_head(out, head, {.framing = choose_framing(head, "GET", 1)});
  EXPECT_EQ(
      out,
      "HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(ResponseHead, FoldedLinesAreJoinedByOneBlankAndNoneAtTheEnds) {
  const auto value = [](std::string_view lines) {
    return read_head("HTTP/1.1 200 OK\r\n" + std::string(lines) + "\r\n").value().headers[0].value;
  };
  EXPECT_EQ(value("a: b\r\n\t c\r\n"), "b c");
  EXPECT_EQ(value("a: \r\n c\r\n"), "c");
  EXPECT_EQ(value("a: b\r\n \r\n"), "b");
}

TEST(ResponseHead, FramingFollowsMethodStatusAndClient) {
  const auto framing = [](std::string_view text, std::string_view method, int minor) {
    return choose_framing(read_head(text).value(), method, minor);
  };
  EXPECT_EQ(framing("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "GET", 1),
            ResponseFraming::length);
  EXPECT_EQ(framing("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "HEAD", 1), ResponseFraming::none);
  EXPECT_EQ(framing("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", "GET", 1),
            ResponseFraming::none);
  EXPECT_EQ(framing("HTTP/1.1 204 X\r\n\r\n", "GET", 1), ResponseFraming::none);
  EXPECT_EQ(framing("HTTP/1.1 200 X\r\n\r\n", "GET", 1), ResponseFraming::chunked);
  EXPECT_EQ(framing("HTTP/1.1 200 X\r\n\r\n", "GET", 0), ResponseFraming::close);
}

TEST(ResponseHead, WhatIsNotHttpOrTooLargeHasItsCode) {
  EXPECT_EQ(read_head("SSH-2.0-x\r\n\r\n").error().code, "upstream_error");
  EXPECT_EQ(read_head("HTTP/1.1 200x\r\n\r\n").error().code, "upstream_error");
  EXPECT_EQ(read_head("HTTP/3 200\r\n\r\n").error().code, "upstream_error");
  EXPECT_EQ(read_head("HTTP/2 20\r\n\r\n").error().code, "upstream_error");
  EXPECT_EQ(read_head("HTTP/2 204 \r\n\r\n").value().status, 204);
  EXPECT_EQ(read_head("HTTP/1.1 200 OK\r\n folded\r\n\r\n").error().code, "upstream_error");
  EXPECT_EQ(read_head("HTTP/1.1 200 OK\r\nX: " + std::string(2000, 'x') + "\r\n\r\n").error().code,
            "constraint_violation");
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 300; ++i) many += "a: b\r\n";
  EXPECT_EQ(read_head(many + "\r\n", 100'000).error().code, "constraint_violation");
}

}  // namespace
}  // namespace pinhole::pep
