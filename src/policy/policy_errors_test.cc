// SPDX-License-Identifier: Apache-2.0
// What is wrong with a policy file, word for word.
#include <gtest/gtest.h>

#include <fstream>

#include "policy/policy.h"

namespace pinhole::policy {
namespace {

std::string error_of(std::string_view text, LayerKind kind = LayerKind::user,
                     std::vector<std::string> foreign = {}) {
  auto document = yaml::parse(text, "p.yaml");
  if (!document) return document.error().message;
  std::vector<Layer> layers;
  layers.push_back(
      {.kind = kind, .document = *std::move(document), .foreign_keys = std::move(foreign)});
  const auto policy = Policy::compile(std::move(layers));
  return policy ? "no error" : policy.error().message;
}

/// The error of one allow rule.
std::string allow(std::string_view rule) {
  return error_of("egress:\n  allow:\n    - " + std::string(rule) + "\n");
}
std::string deny(std::string_view rule) {
  return error_of("egress:\n  deny:\n    - " + std::string(rule) + "\n");
}

TEST(PolicyErrors, PointIntoTheLine) {
  auto document = yaml::parse("egress:\n  alow:\n    - a.com\n", "pinhole.yaml");
  std::vector<Layer> layers;
  layers.push_back({.kind = LayerKind::user, .document = *std::move(document)});
  const Error error = Policy::compile(std::move(layers)).error();
  EXPECT_EQ(error.message, "pinhole.yaml:2:3: unknown key \"alow\"; did you mean \"allow\"?");
  EXPECT_EQ(error.details, (std::vector<std::string>{"  alow:", "  ^"}));
}

TEST(PolicyErrors, UnknownAndDuplicateKeysAndWrongTypes) {
  EXPECT_EQ(error_of("egres: {}"), "p.yaml:1:1: unknown key \"egres\"; did you mean \"egress\"?");
  EXPECT_EQ(error_of("name: web"), "p.yaml:1:1: unknown key \"name\"");
  EXPECT_EQ(error_of("name: web", LayerKind::user, {"name"}), "no error");
  EXPECT_EQ(error_of("egress: {}\negress: {}"),
            "p.yaml:2:1: duplicate key \"egress\"; the first is in line 1");
  EXPECT_EQ(error_of("egress: [a.com]"),
            "p.yaml:1:9: \"egress\" expects keys and values, found a list");
  EXPECT_EQ(error_of("egress: {allow: a.com}"),
            "p.yaml:1:17: \"allow\" expects a list, found \"a.com\"");
  EXPECT_EQ(error_of("egress:\n  allow:\n"),
            "p.yaml:2:9: \"allow\" expects a list, found nothing (write [] for an empty list)");
  EXPECT_EQ(error_of("version: 2"),
            "p.yaml:1:10: version 2 is not known; this program knows version 1");
  EXPECT_EQ(error_of("version: one"),
            "p.yaml:1:10: \"version\" expects a whole number, found \"one\"");
  EXPECT_EQ(error_of("- a"), "p.yaml:1:1: the file expects keys and values, found a list");
  EXPECT_EQ(
      allow("[a.com]"),
      "p.yaml:3:7: a rule is a text such as \"GET https://host/path\" or {host: …}, found a list");
  EXPECT_EQ(allow("{host: a.com, method: GET}"),
            "p.yaml:3:21: unknown key \"method\"; did you mean \"methods\"?");
  EXPECT_EQ(allow("{methods: [GET]}"),
            "p.yaml:3:7: the key \"host\" is missing; it expects a text");
}

TEST(PolicyErrors, WhatIsNotEnforcedYetIsRefused) {
  EXPECT_EQ(error_of("egress: {ask: []}"),
            "p.yaml:1:10: \"ask\" comes with a later version; in this one nobody would be asked");
}

TEST(PolicyErrors, Presets) {
  EXPECT_EQ(error_of("egress: {use: [npm, pypi]}"), "no error");
  EXPECT_EQ(
      error_of("egress: {use: [pypy]}"),
      "p.yaml:1:16: unknown preset \"pypy\"; there are anthropic, crates, debian, github-read, "
      "golang, npm, openai, pypi, ubuntu; did you mean \"pypi\"?");
  EXPECT_EQ(error_of("egress: {use: [npm, npm]}"), "p.yaml:1:21: preset \"npm\" is given twice");
  EXPECT_EQ(error_of("egress: {use: npm}"), "p.yaml:1:15: \"use\" expects a list, found \"npm\"");
  // A preset may be narrowed by denies, whole.
  EXPECT_EQ(error_of("egress: {use: [github-read], deny: [api.github.com]}"), "no error");
}

TEST(PolicyErrors, Ceilings) {
  const auto under = [](const std::string& rule, const std::string& ceiling) {
    return error_of("egress:\n  allow:\n  - " + rule + "\nceiling:\n  - " + ceiling + "\n");
  };
  const char* kAbove =
      "p.yaml:3:5: this rule can never be reached: the ceiling in line 4 does not hold it";
  EXPECT_EQ(under("a.com", "a.com"), "no error");
  EXPECT_EQ(under("a.com/x", "\"*.com\""), "no error");
  EXPECT_EQ(under("\"*.a.com\"", "b.a.com"), "no error");
  EXPECT_EQ(under("a.com", "b.com"), kAbove);
  EXPECT_EQ(under("a.com:8443", "a.com"), kAbove);
  EXPECT_EQ(under("10.0.0.1", "\"*\""), kAbove);
  EXPECT_EQ(under("\"tcp://a.com:443\"", "a.com"), kAbove);
  EXPECT_EQ(under("\"tcp://a.com:443\"", "\"tcp://a.com:443\""), "no error");
  EXPECT_EQ(error_of("ceiling: a.com"), "p.yaml:1:10: \"ceiling\" expects a list, found \"a.com\"");
  EXPECT_EQ(error_of("ceiling: [{host: a.com, limits: {rate: 1/s}}]"),
            "p.yaml:1:25: \"limits\" has no meaning in a ceiling rule");
  EXPECT_EQ(error_of("ceiling: [a.com, a.com]"),
            "p.yaml:1:18: this rule can never be reached: it repeats line 1");
}

TEST(PolicyErrors, RawAndHttpForOnePlace) {
  const auto both = [](const std::string& first, const std::string& second) {
    return error_of("egress:\n  allow:\n  - " + first + "\n  - " + second + "\n");
  };
  EXPECT_EQ(
      both("a.com", "\"tcp://a.com:443\""),
      "p.yaml:4:5: a.com:443 is for raw TCP by one rule and for HTTP by another one: p.yaml:4 "
      "and p.yaml:3");
  EXPECT_EQ(both("\"tcp://*.a.com:8080\"", "GET http://*.a.com:8080/x"),
            "p.yaml:4:5: *.a.com:8080 is for raw TCP by one rule and for HTTP by another one: "
            "p.yaml:3 and p.yaml:4");
  EXPECT_EQ(both("a.com", "\"tcp://a.com:5432\""), "no error");
  EXPECT_EQ(both("\"https://a.com\"", "\"tcp://b.com:443\""), "no error");
  EXPECT_EQ(
      error_of("egress: {use: [npm], allow: [\"tcp://registry.npmjs.org:443\"]}").substr(0, 75),
      "p.yaml:1:30: registry.npmjs.org:443 is for raw TCP by one rule and for HTTP");
}

TEST(PolicyErrors, RawRules) {
  EXPECT_EQ(allow("tcp://db.example.com:5432"), "no error");
  EXPECT_EQ(allow("{host: \"tcp://db.example.com:5432\", limits: {concurrent: 4}}"), "no error");
  EXPECT_EQ(deny("tcp://db.example.com"), "no error");
  EXPECT_EQ(allow("tcp://db.example.com"),
            "p.yaml:3:7: a tcp:// rule needs a port, as in tcp://db.example.com:5432");
  EXPECT_EQ(allow("tcp://db.example.com:1/x"), "p.yaml:3:29: a tcp:// rule has no path");
  EXPECT_EQ(allow("GET tcp://db.example.com:1"),
            "p.yaml:3:7: a tcp:// rule has no methods: its bytes are not looked into");
  EXPECT_EQ(allow("{host: \"tcp://a.com:1\", tls: tunnel}"),
            "p.yaml:3:31: \"tls\" does not go with tcp://");
}

TEST(PolicyErrors, SecretsAndRatesOfRules) {
  EXPECT_EQ(allow("{host: a.com, secrets: [K], limits: {rate: 120/min, concurrent: 4}}"),
            "no error");
  EXPECT_EQ(allow("{host: a.com, secrets: [k-1]}"),
            "p.yaml:3:31: \"k-1\" is not the name of a secret");
  EXPECT_EQ(allow("{host: a.com, tls: tunnel, secrets: [K]}"),
            "p.yaml:3:34: no secret can be put into bytes that are not looked into; leave "
            "\"secrets\" out");
  EXPECT_EQ(deny("{host: a.com, secrets: [K]}"),
            "p.yaml:3:21: \"secrets\" has no meaning in a deny rule");
  EXPECT_EQ(allow("{host: a.com, limits: {rate: 120}}"),
            "p.yaml:3:36: \"rate\" expects a rate such as 10/s, 120/min, 1000/h or 5000/day, found "
            "\"120\"");
  EXPECT_EQ(allow("{host: a.com, limits: {rate: 0/s}}").substr(0, 19), "p.yaml:3:36: \"rate\"");
  EXPECT_EQ(allow("{host: a.com, limits: {concurrent: 0}}"),
            "p.yaml:3:42: \"concurrent\" is 0; at least 1 is needed");
}

TEST(PolicyErrors, Secrets) {
  const auto secret = [](const std::string& value) {
    return error_of("secrets: {K: " + value + "}");
  };
  EXPECT_EQ(secret("{from: \"env:K\", hosts: [a.com, \"*.b.com\"], header: X-Api-Key, "
                   "placeholder: sk-ant-, in: [query, body]}"),
            "no error");
  EXPECT_EQ(secret("{from: \"file:/run/key\", hosts: [a.com]}"), "no error");
  EXPECT_EQ(secret("{from: \"cmd:pass show key\", hosts: [a.com]}"), "no error");
  EXPECT_EQ(secret("{from: s3cr3t, hosts: [a.com]}"),
            "p.yaml:1:21: \"from\" expects env:NAME, file:/full/path or cmd:COMMAND, never the "
            "value itself");
  EXPECT_EQ(secret("{from: \"file:key\", hosts: [a.com]}").substr(0, 19), "p.yaml:1:21: \"from\"");
  EXPECT_EQ(secret("{from: \"env:K\"}"), "p.yaml:1:14: a secret needs \"hosts\": where it may go");
  EXPECT_EQ(secret("{from: \"env:K\", hosts: [\"*\"]}"),
            "p.yaml:1:38: a secret for every host is no secret; name the hosts");
  EXPECT_EQ(
      secret("{from: \"env:K\", hosts: [\"a.com:80\"]}"),
      "p.yaml:1:38: a secret's hosts are names without a port; a rule says which port is open");
  EXPECT_EQ(secret("{from: \"env:K\", hosts: [a.com], header: Host}"),
            "p.yaml:1:54: no secret can go into the header \"host\"");
  EXPECT_EQ(secret("{from: \"env:K\", hosts: [a.com], placeholder: \"a b\"}"),
            "p.yaml:1:59: \"placeholder\" expects at most 32 letters, digits, \"_\" and \"-\"");
  EXPECT_EQ(secret("{from: \"env:K\", hosts: [a.com], in: [path]}"),
            "p.yaml:1:51: \"in\" knows query and body, found \"path\"");
  EXPECT_EQ(error_of("secrets: {a-b: {from: \"env:K\", hosts: [a.com]}}"),
            "p.yaml:1:11: \"a-b\" is not the name of a secret: letters, digits and \"_\", at most "
            "64, as for a variable");
}

TEST(PolicyErrors, ResolverAndProxy) {
  EXPECT_EQ(error_of("resolver: 9.9.9.9"), "no error");
  EXPECT_EQ(error_of("resolver: [\"9.9.9.9:5353\", \"[2620:fe::fe]:53\", \"2620:fe::9\"]"),
            "no error");
  EXPECT_EQ(error_of("resolver: dns.example.com"),
            "p.yaml:1:11: \"resolver\" expects the address of a name server, such as 9.9.9.9 or "
            "[2620:fe::fe]:53, found \"dns.example.com\"");
  EXPECT_EQ(error_of("resolver: []"), "p.yaml:1:11: \"resolver\" expects 1 to 8 name servers");
  EXPECT_EQ(error_of("upstream_proxy: http://proxy.corp:3128"), "no error");
  EXPECT_EQ(error_of("upstream_proxy: http://proxy.corp"),
            "p.yaml:1:17: \"upstream_proxy\" needs a port: http://host:port");
  EXPECT_EQ(error_of("upstream_proxy: socks5://proxy.corp:1080"),
            "p.yaml:1:17: \"upstream_proxy\" expects http://host:port, found "
            "\"socks5://proxy.corp:1080\"");
}

TEST(PolicyErrors, SomeThingsOnlyTheUserMaySay) {
  const char* kInternal = "internal: [\"a.corp:80 -> 10.0.0.1:80\"]";
  const char* kCa = "ca: {a.corp: /x.pem}";
  const char* kSecrets = "secrets: {K: {from: \"env:K\", hosts: [a.com]}}";
  for (const LayerKind kind : {LayerKind::user, LayerKind::session}) {
    EXPECT_EQ(error_of(kInternal, kind), "no error");
    EXPECT_EQ(error_of(kCa, kind), "no error");
  }
  EXPECT_EQ(error_of(kInternal, LayerKind::project),
            "p.yaml:1:1: \"internal\" may be said by the user's own file or a flag only, not by a "
            "project's file");
  EXPECT_EQ(
      error_of(kCa, LayerKind::project),
      "p.yaml:1:1: \"ca\" may be said by the user's own file or a flag only, not by a project's "
      "file");
  for (const char* text : {kSecrets, "resolver: 9.9.9.9", "upstream_proxy: http://p:1"}) {
    EXPECT_EQ(error_of(text, LayerKind::session), "no error");
    EXPECT_TRUE(error_of(text, LayerKind::project)
                    .ends_with("may be said by the user's own file or a flag only, not by a "
                               "project's file"));
  }
  EXPECT_EQ(error_of(kInternal, LayerKind::organisation).substr(0, 20), "p.yaml:1:1: \"interna");
}

TEST(PolicyErrors, Hosts) {
  EXPECT_EQ(allow("\"*example.com\""),
            "p.yaml:3:8: a \"*\" in a host stands for whole leading labels; did you mean "
            "\"*.example.com\"?");
  EXPECT_EQ(allow("a.*.com"), "p.yaml:3:7: a \"*\" in a host stands for whole leading labels");
  EXPECT_EQ(allow("\"*.*.com\""), "p.yaml:3:8: a \"*\" in a host stands for whole leading labels");
  EXPECT_EQ(allow("\"**\""), "p.yaml:3:8: a \"*\" in a host stands for whole leading labels");
  EXPECT_EQ(allow("\"*.10.0.0.1\""), "p.yaml:3:10: \"*.\" does not go with an IP address");
  EXPECT_EQ(
      allow("127.1"),
      "p.yaml:3:7: host \"127.1\" looks like an IPv4 address but is not four decimal numbers");
  EXPECT_EQ(allow("https://user@a.com"),
            "p.yaml:3:15: \"@a.com\" holds a user name; credentials do not belong into a URL");
  EXPECT_EQ(allow("a.com:99999"), "p.yaml:3:7: \"99999\" is not a port (1 to 65535)");
  EXPECT_EQ(allow("ftp://a.com"),
            "p.yaml:3:7: unknown scheme \"ftp\"; http, https and tcp are known");
  EXPECT_EQ(allow("\"\""), "p.yaml:3:8: host \"\" is empty");
  EXPECT_EQ(allow("bücher.example"), "no error");
  EXPECT_EQ(allow("\"*:8443\""), "no error");
  EXPECT_EQ(allow("https://*"), "no error");
}

TEST(PolicyErrors, Methods) {
  EXPECT_EQ(allow("get a.com"), "p.yaml:3:7: unknown method \"get\"; did you mean \"GET\"?");
  EXPECT_EQ(allow("GET,POSST a.com"),
            "p.yaml:3:11: unknown method \"POSST\"; did you mean \"POST\"?");
  EXPECT_EQ(allow("GET,GET a.com"), "p.yaml:3:11: method \"GET\" is given twice");
  EXPECT_EQ(allow("GET, HEAD a.com"),
            "p.yaml:3:16: a rule has at most one space, between methods and target");
  EXPECT_EQ(allow("\"GET, a.com\""), "p.yaml:3:12: \"\" is not a method");
  EXPECT_EQ(allow("CONNECT a.com"),
            "p.yaml:3:7: CONNECT is not a method of a rule; use {host: …, tls: tunnel}");
  EXPECT_EQ(allow("{host: a.com, methods: []}"), "p.yaml:3:30: \"methods\" is an empty list");
  EXPECT_EQ(allow("{host: a.com, methods: GET}"),
            "p.yaml:3:30: \"methods\" expects a list, found \"GET\"");
  EXPECT_EQ(allow("SUBSCRIBE a.com"), "no error");
}

TEST(PolicyErrors, Paths) {
  EXPECT_EQ(allow("a.com/x/../y"), "p.yaml:3:12: the path holds a \".\" or \"..\" segment");
  EXPECT_EQ(allow("a.com/**/x"), "p.yaml:3:12: \"**\" may only be the last segment of a path");
  EXPECT_EQ(allow("a.com/v*/x"),
            "p.yaml:3:12: \"*\" stands for a whole segment; \"v*\" mixes it with text");
  EXPECT_EQ(allow("a.com/***"),
            "p.yaml:3:12: \"*\" stands for a whole segment; \"***\" mixes it with text");
  EXPECT_EQ(allow("a.com/x?y=1"), "p.yaml:3:14: the query is not part of a rule");
  EXPECT_EQ(allow("a.com/%2A"), "p.yaml:3:12: a path with a literal \"*\" (%2A) cannot be written");
  EXPECT_EQ(allow("{host: a.com/x}"), "p.yaml:3:19: a path belongs into \"paths\"");
  EXPECT_EQ(allow("{host: a.com, paths: [x]}"), "p.yaml:3:29: the path does not start with \"/\"");
  EXPECT_EQ(allow("{host: a.com, paths: [/x, /x]}"), "p.yaml:3:33: path \"/x\" is given twice");
  EXPECT_EQ(allow("a.com/*/*/*/*/*/*/*/*/*"), "p.yaml:3:12: more than 8 \"*\" in a path");
}

TEST(PolicyErrors, Tunnels) {
  EXPECT_EQ(allow("{host: a.com, tls: tunnel}"), "no error");
  EXPECT_EQ(allow("{host: a.com, tls: off}"), "p.yaml:3:26: \"tls\" expects tunnel, found \"off\"");
  EXPECT_EQ(allow("{host: a.com, methods: [GET], tls: tunnel}"),
            "p.yaml:3:37: methods and paths cannot be checked in a tunnel; give one or the other");
  EXPECT_EQ(allow("{host: \"http://a.com\", tls: tunnel}"),
            "p.yaml:3:30: a tunnel is for https, not for http");
  EXPECT_EQ(deny("{host: a.com, tls: tunnel}"),
            "p.yaml:3:21: \"tls\" has no meaning in a deny rule");
  EXPECT_EQ(deny("{host: a.com, limits: {request_body: 1}}"),
            "p.yaml:3:21: \"limits\" has no meaning in a deny rule");
}

TEST(PolicyErrors, RulesThatCanNeverBeReached) {
  EXPECT_EQ(error_of("egress:\n  allow:\n  - a.com\n  - A.com.\n"),
            "p.yaml:4:5: this rule can never be reached: it repeats line 3");
  EXPECT_EQ(error_of("egress:\n  allow:\n  - GET,POST https://a.com/x\n"
                     "  - {host: \"https://a.com:443\", methods: [POST, GET], paths: [/x]}\n"),
            "p.yaml:4:5: this rule can never be reached: it repeats line 3");
  EXPECT_EQ(error_of("egress:\n  deny:\n  - a.com\n  - a.com\n"),
            "p.yaml:4:5: this rule can never be reached: it repeats line 3");
  const auto both = [](const std::string& allow, const std::string& deny) {
    return error_of("egress:\n  allow:\n  - " + allow + "\n  deny:\n  - " + deny + "\n");
  };
  const char* kCovered =
      "p.yaml:3:5: this rule can never be reached: the deny rule in line 5 covers it";
  EXPECT_EQ(both("a.com", "a.com"), kCovered);
  EXPECT_EQ(both("b.a.com", "\"*.a.com\""), kCovered);
  EXPECT_EQ(both("\"*.b.a.com\"", "\"*.a.com\""), kCovered);
  EXPECT_EQ(both("\"*.a.com\"", "\"*.a.com\""), kCovered);
  EXPECT_EQ(both("10.0.0.1", "\"*\""), kCovered);
  EXPECT_EQ(both("GET https://a.com/x/y", "https://a.com/x/**"), kCovered);
  EXPECT_EQ(both("GET https://a.com/x/*", "GET https://a.com/*/*"), kCovered);
  EXPECT_EQ(both("\"https://a.com\"", "\"https://a.com\""), kCovered);

  const char* kUnseen =
      "p.yaml:3:5: this rule can never be reached: the deny rule in line 5 could not be kept "
      "inside";
  EXPECT_EQ(both("{host: a.com, tls: tunnel}", "\"https://a.com\""), kUnseen);
  EXPECT_EQ(both("{host: a.com, tls: tunnel}", "POST a.com/x"), kUnseen);
  EXPECT_EQ(both("\"tcp://a.com:99\"", "POST http://a.com:99/x"), kUnseen);
  EXPECT_EQ(both("\"tcp://a.com:99\"", "\"tcp://*.com:99\""), kUnseen);

  EXPECT_EQ(both("\"tcp://a.com:99\"", "\"tcp://a.com:98\""), "no error");
  EXPECT_EQ(both("{host: a.com, tls: tunnel}", "\"http://a.com\""), "no error");
  EXPECT_EQ(both("a.com", "\"*.a.com\""), "no error");
  EXPECT_EQ(both("\"*.a.com\"", "b.a.com"), "no error");
  EXPECT_EQ(both("a.com", "\"https://a.com\""), "no error");  // http stays
  EXPECT_EQ(both("a.com", "POST a.com"), "no error");
  EXPECT_EQ(both("GET,POST a.com", "POST a.com"), "no error");
  EXPECT_EQ(both("https://a.com/x/**", "https://a.com/x/*"), "no error");
  EXPECT_EQ(both("\"*\"", "a.com"), "no error");
}

TEST(PolicyErrors, InternalCaLimitsAndAudit) {
  EXPECT_EQ(error_of("internal: [a.corp]"),
            "p.yaml:1:12: \"internal\" expects \"name:port -> address:port\", found \"a.corp\"");
  EXPECT_EQ(error_of("internal: [\"a.corp:80 -> b.corp:80\"]"),
            "p.yaml:1:12: \"internal\" expects \"name:port -> address:port\", found \"a.corp:80 -> "
            "b.corp:80\"");
  EXPECT_EQ(error_of("internal: [\"*.corp:80 -> 10.0.0.1:80\"]"),
            "p.yaml:1:12: host \"*.corp\" holds \"*\", which no host name does");
  EXPECT_EQ(error_of("internal: [\"a:80 -> 10.0.0.1:80\", \"A:80 -> 10.0.0.2:80\"]"),
            "p.yaml:1:35: a:80 is given twice");
  EXPECT_EQ(error_of("ca: {a.corp: ca.pem}"),
            "p.yaml:1:14: \"ca\" expects the full path of a PEM file, found \"ca.pem\"");
  EXPECT_EQ(error_of("limits: {connections: 0}"),
            "p.yaml:1:23: \"connections\" is 0; at least 1 is needed");
  EXPECT_EQ(error_of("limits: {header_bytes: 10MiB}"),
            "p.yaml:1:24: \"header_bytes\" is 10MiB; at most 1048576 is allowed");
  EXPECT_EQ(error_of("limits: {idle: 120}"),
            "p.yaml:1:16: \"idle\" expects a time such as 500ms, 120s or 5m, found \"120\"");
  EXPECT_EQ(error_of("limits: {idle: 1ms}"), "p.yaml:1:16: \"idle\" is less than a second");
  EXPECT_EQ(error_of("egress:\n  allow:\n  - {host: a.com, limits: {request_body: 2GiB}}\n"
                     "limits: {request_body: 1GiB}\n"),
            "p.yaml:3:5: this rule's request_body is more than that of \"limits\" for all");
  EXPECT_EQ(error_of("audit: {redact: [\"a b\"]}"),
            "p.yaml:1:17: \"a b\" is not the name of a header");
}

TEST(PolicyErrors, SizesAreBounded) {
  std::string text = "egress:\n  allow:\n";
  for (int rule = 0; rule < 30; ++rule) {
    text += "  - {host: \"h" + std::to_string(rule) +
            ".com\", methods: [GET, PUT, POST, DELETE], paths: [";
    for (int i = 0; i < 900; ++i) text += "/" + std::to_string(i) + ", ";
    text += "/x]}\n";
  }
  EXPECT_EQ(error_of(text), "p.yaml:30:5: more than 200000 combinations of method, path and port");
}

TEST(PolicyDocs, EveryWholeExampleIsAPolicy) {
  std::ifstream stream(PINHOLE_SOURCE_DIR "/docs/policy.md");
  const std::string page((std::istreambuf_iterator<char>(stream)), {});
  constexpr std::string_view kFence = "```yaml\n";
  std::size_t examples = 0;
  for (std::size_t at = page.find(kFence); at != std::string::npos; at = page.find(kFence, at)) {
    at += kFence.size();
    const std::string text = page.substr(at, page.find("```", at) - at);
    EXPECT_EQ(error_of(text, LayerKind::user, {"vm"}), "no error") << text;
    ++examples;
  }
  EXPECT_GE(examples, 2U);
}

}  // namespace
}  // namespace pinhole::policy
