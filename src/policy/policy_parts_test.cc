// SPDX-License-Identifier: Apache-2.0
// CONNECT and its handling, ceilings, secrets, limits, and what a policy says of itself.
#include "policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/harness.h"

namespace pinhole::policy {
namespace {

using testing::decide;
using ::testing::ElementsAre;
using testing::layer;
using testing::policy;
using testing::reason;
using testing::request;

/// Denies of another layer: within one file they would be rules that can never be reached.
Policy denied(std::string_view text, std::string_view denies) {
  auto result = Policy::compile({layer(denies, LayerKind::organisation, "org.yaml"), layer(text)});
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Policy();
}

/// "inspect", "tunnel", "raw" or "deny", and the rule.
std::string handling(const Policy& policy, std::string_view text) {
  const Verdict verdict = policy.decide(request(text));
  if (!verdict.allowed()) return "deny " + verdict.rule;
  constexpr std::string_view kNames[] = {"inspect ", "tunnel ", "raw "};
  return std::string(kNames[static_cast<std::size_t>(verdict.handling)]) + verdict.rule;
}

TEST(PolicyConnect, IsInspectedWhereARequestInsideCouldBeAllowed) {
  const Policy p = policy(
      "egress:\n"
      "  allow:\n"
      "    - a.com\n"
      "    - http://c.com\n"
      "    - GET https://d.com:8443/x\n"
      "    - e.com\n"
      "    - f.com\n"
      "  deny:\n"
      "    - DELETE e.com/keys/**\n"
      "    - https://f.com\n"
      "    - \"*.a.com\"\n");
  EXPECT_EQ(handling(p, "CONNECT a.com:443"), "inspect pinhole.yaml:3");
  EXPECT_EQ(handling(p, "CONNECT a.com:80"), "inspect pinhole.yaml:3");
  EXPECT_EQ(handling(p, "CONNECT a.com:22"), "deny default");
  EXPECT_EQ(handling(p, "CONNECT b.a.com:443"), "deny pinhole.yaml:11");
  EXPECT_EQ(handling(p, "CONNECT c.com:80"), "inspect pinhole.yaml:4");
  EXPECT_EQ(handling(p, "CONNECT c.com:443"), "deny default");
  EXPECT_EQ(handling(p, "CONNECT d.com:8443"), "inspect pinhole.yaml:5");
  EXPECT_EQ(handling(p, "CONNECT d.com:443"), "deny default");
  EXPECT_EQ(handling(p, "CONNECT e.com:443"), "inspect pinhole.yaml:6");
  EXPECT_EQ(handling(p, "CONNECT f.com:443"), "deny pinhole.yaml:10");
  EXPECT_EQ(handling(p, "CONNECT f.com:80"), "inspect pinhole.yaml:7");
  EXPECT_TRUE(p.decide(request("CONNECT a.com:443")).whole_host);
  EXPECT_FALSE(p.decide(request("CONNECT d.com:8443")).whole_host);
  EXPECT_FALSE(p.decide(request("CONNECT e.com:443")).whole_host);
}

TEST(PolicyConnect, TunnelsPassUnseenAndNothingIsDeniedInThem) {
  const Policy p = denied(
      "egress:\n"
      "  allow:\n"
      "    - {host: t.com, tls: tunnel}\n"
      "    - {host: \"u.com:8443\", tls: tunnel, limits: {concurrent: 2}}\n"
      "    - \"*.v.com\"\n"
      "    - {host: x.v.com, tls: tunnel}\n"
      "    - {host: w.com, tls: tunnel}\n",
      "egress: {deny: [DELETE w.com/keys/**]}");
  EXPECT_EQ(handling(p, "CONNECT t.com:443"), "tunnel pinhole.yaml:3");
  EXPECT_EQ(handling(p, "CONNECT t.com:80"), "deny default");
  EXPECT_EQ(handling(p, "GET https://t.com/"), "deny default");
  EXPECT_EQ(reason(p, "GET https://t.com/"),
            "host t.com is allowed only for a TLS tunnel (CONNECT) (pinhole.yaml:3)");
  EXPECT_EQ(handling(p, "CONNECT u.com:8443"), "tunnel pinhole.yaml:4");
  EXPECT_EQ(p.decide(request("CONNECT u.com:8443")).limits.concurrent, 2U);
  EXPECT_EQ(handling(p, "CONNECT x.v.com:443"), "tunnel pinhole.yaml:6");
  EXPECT_EQ(handling(p, "CONNECT y.v.com:443"), "inspect pinhole.yaml:5");
  EXPECT_EQ(handling(p, "CONNECT w.com:443"), "deny org.yaml:1");
  EXPECT_EQ(reason(p, "CONNECT w.com:443"),
            "host w.com is denied for DELETE /keys/** (org.yaml:1), which nobody could see in a "
            "connection that passes untouched");
}

TEST(PolicyConnect, RawRulesAreForOnePortAndNoRequest) {
  const Policy p = denied(
      "egress:\n"
      "  allow:\n"
      "    - tcp://db.com:5432\n"
      "    - tcp://e.com:443\n"
      "    - tcp://f.com:22\n"
      "    - f.com\n"
      "    - g.com\n",
      "egress:\n"
      "  deny:\n"
      "    - DELETE https://e.com/x\n"
      "    - tcp://f.com:22\n"
      "    - tcp://g.com:443\n");
  EXPECT_EQ(handling(p, "CONNECT db.com:5432"), "raw pinhole.yaml:3");
  EXPECT_EQ(handling(p, "CONNECT db.com:443"), "deny default");
  EXPECT_EQ(reason(p, "CONNECT db.com:443"),
            "host db.com is allowed only for raw TCP on port 5432 (CONNECT) (pinhole.yaml:3)");
  EXPECT_EQ(handling(p, "GET http://db.com:5432/"), "deny default");
  EXPECT_EQ(handling(p, "CONNECT e.com:443"), "deny org.yaml:3");
  EXPECT_EQ(handling(p, "CONNECT f.com:22"), "deny org.yaml:4");
  EXPECT_EQ(handling(p, "CONNECT f.com:443"), "inspect pinhole.yaml:6");
  EXPECT_EQ(handling(p, "CONNECT g.com:443"), "deny org.yaml:5");
  EXPECT_EQ(handling(p, "GET https://g.com/"), "deny org.yaml:5");
  EXPECT_EQ(handling(p, "GET http://g.com/"), "inspect pinhole.yaml:7");
  EXPECT_TRUE(p.may_resolve(*http::normalise_host("db.com"), 5432));
  EXPECT_FALSE(p.may_resolve(*http::normalise_host("db.com"), 443));
}

TEST(PolicyCeiling, HoldsWhateverOtherLayersAllow) {
  const auto p = Policy::compile(
      {layer("ceiling:\n  - \"*.a.com\"\n  - GET https://b.com/pub/**\n  - tcp://db.com:5432\n"
             "  - {host: t.com, tls: tunnel}\n",
             LayerKind::organisation, "/etc/pinhole/policy.yaml"),
       layer("egress:\n  allow:\n    - x.a.com\n    - b.com\n    - c.com\n    - tcp://db.com:5432\n"
             "    - tcp://x.a.com:22\n    - {host: t.com, tls: tunnel}\n"
             "    - {host: y.a.com, tls: tunnel}\n    - {host: \"b.com:444\", tls: tunnel}\n")});
  ASSERT_TRUE(p) << p.error().message;
  const std::string above = "deny /etc/pinhole/policy.yaml:1";
  EXPECT_EQ(handling(*p, "POST https://x.a.com/q"), "inspect pinhole.yaml:3");
  EXPECT_EQ(handling(*p, "CONNECT x.a.com:443"), "inspect pinhole.yaml:3");
  EXPECT_TRUE(p->decide(request("CONNECT x.a.com:443")).whole_host);
  EXPECT_EQ(handling(*p, "GET https://b.com/pub/x"), "inspect pinhole.yaml:4");
  EXPECT_EQ(handling(*p, "GET https://b.com/x"), above);
  EXPECT_EQ(handling(*p, "POST https://b.com/pub/x"), above);
  EXPECT_EQ(handling(*p, "GET https://b.com/pub%2Fx"), above);
  EXPECT_EQ(handling(*p, "GET http://b.com/pub/x"), above);
  EXPECT_EQ(reason(*p, "GET https://b.com/x"),
            "GET https://b.com/x is not under the ceiling at /etc/pinhole/policy.yaml:1, whatever "
            "other rules allow");
  EXPECT_EQ(handling(*p, "CONNECT b.com:443"), "inspect pinhole.yaml:4");
  EXPECT_FALSE(p->decide(request("CONNECT b.com:443")).whole_host);
  EXPECT_EQ(handling(*p, "CONNECT b.com:80"), above);
  EXPECT_EQ(handling(*p, "CONNECT b.com:444"), above);
  EXPECT_EQ(handling(*p, "CONNECT c.com:443"), above);
  EXPECT_EQ(handling(*p, "CONNECT db.com:5432"), "raw pinhole.yaml:6");
  EXPECT_EQ(handling(*p, "CONNECT x.a.com:22"), above);
  EXPECT_EQ(handling(*p, "CONNECT t.com:443"), "tunnel pinhole.yaml:8");
  EXPECT_EQ(handling(*p, "CONNECT y.a.com:443"), "tunnel pinhole.yaml:9");
  EXPECT_EQ(handling(*p, "GET https://z.a.com/"), "deny default");  // a ceiling allows nothing
  const auto may = [&](std::string_view host, std::uint16_t port) {
    return p->may_resolve(*http::normalise_host(host), port);
  };
  EXPECT_TRUE(may("x.a.com", 443));
  EXPECT_TRUE(may("t.com", 443));
  EXPECT_TRUE(may("b.com", 443));
  EXPECT_FALSE(may("b.com", 80));
  EXPECT_FALSE(may("c.com", 443));
  EXPECT_FALSE(may("z.a.com", 443));
}

TEST(PolicyCeiling, EveryLayersOwnHolds) {
  const auto p =
      Policy::compile({layer("ceiling: [a.com, b.com]", LayerKind::organisation, "org.yaml"),
                       layer("ceiling: [b.com, c.com]\n", LayerKind::user, "config.yaml"),
                       layer("egress: {allow: [a.com, b.com, c.com]}", LayerKind::project)});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_EQ(decide(*p, "GET https://a.com/"), "deny config.yaml:1");
  EXPECT_EQ(decide(*p, "GET https://b.com/"), "allow pinhole.yaml:1");
  EXPECT_EQ(decide(*p, "GET https://c.com/"), "deny org.yaml:1");
  const Policy empty = policy("ceiling: []\negress: {use: [npm]}\n");
  EXPECT_EQ(decide(empty, "GET https://registry.npmjs.org/x"), "deny pinhole.yaml:1");
  EXPECT_THAT(empty.warnings(),
              ElementsAre("pinhole.yaml:1: the ceiling is empty: nothing at all is allowed"));
}

TEST(PolicyMatching, NamesEveryRuleThatFits) {
  const auto p = Policy::compile(
      {layer("egress: {deny: [POST a.com]}\nceiling: [\"*.com\", b.org]", LayerKind::user,
             "c.yaml"),
       layer("egress:\n  allow:\n    - a.com\n    - \"*.com\"\n    - GET https://a.com/x/*\n"
             "    - b.org\n    - tcp://a.com:22\n")});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_THAT(
      p->matching_rules(request("GET https://a.com/x/y")),
      ElementsAre(MatchingRule{"pinhole.yaml:3", "allow"}, MatchingRule{"pinhole.yaml:4", "allow"},
                  MatchingRule{"pinhole.yaml:5", "allow"}, MatchingRule{"c.yaml:2", "ceiling"}));
  EXPECT_THAT(
      p->matching_rules(request("POST https://a.com/x/y")),
      ElementsAre(MatchingRule{"c.yaml:1", "deny"}, MatchingRule{"pinhole.yaml:3", "allow"},
                  MatchingRule{"pinhole.yaml:4", "allow"}, MatchingRule{"c.yaml:2", "ceiling"}));
  EXPECT_THAT(
      p->matching_rules(request("CONNECT a.com:22")),
      ElementsAre(MatchingRule{"c.yaml:1", "deny"}, MatchingRule{"pinhole.yaml:7", "allow"}));
  EXPECT_TRUE(p->matching_rules(request("GET https://c.org/")).empty());
}

TEST(PolicyStatements, SayAllOfIt) {
  const Policy p = policy(
      "egress:\n"
      "  use: [npm]\n"
      "  allow: [a.com, {host: b.com, limits: {request_body: 1KiB, concurrent: 2}}]\n"
      "  deny: [POST a.com]\n"
      "ceiling: [\"*.com\", \"*.org\"]\n"
      "secrets: {K: {from: \"env:K\", hosts: [b.com, \"*.c.com\"], placeholder: sk-, in: [body]}}\n"
      "internal: [\"d.corp:443 -> 10.0.0.1:443\"]\n"
      "ca: {d.corp: /x.pem}\n"
      "resolver: 9.9.9.9\n"
      "upstream_proxy: http://p.corp:3128\n"
      "limits: {rate: 5/s}\n"
      "audit: {sync: each}\n");
  EXPECT_THAT(
      p.statements(),
      ElementsAre("use npm", "allow a.com", "allow b.com (request body 1024; 2 at a time)",
                  "deny POST a.com", "ceiling of *.com, *.org",
                  "secret K from env:K in authorization, body to b.com, *.c.com, placeholder sk-",
                  "internal d.corp:443 -> 10.0.0.1:443", "ca d.corp: /x.pem", "resolver 9.9.9.9:53",
                  "upstream_proxy http://p.corp:3128", "limit connections 256",
                  "limit request_body 67108864", "limit response_body 2147483648",
                  "limit header_bytes 65536", "limit idle 120000ms", "limit rate 5/s",
                  "audit bodies size", "audit sync each", "audit redact authorization",
                  "audit redact cookie", "audit redact proxy-authorization",
                  "audit redact set-cookie"));
}

TEST(PolicyLimits, RatesOfRulesAndOfAll) {
  const auto p = Policy::compile(
      {layer("limits: {rate: 1000/h, concurrent: 9}\n", LayerKind::user, "config.yaml"),
       layer("egress:\n  allow:\n    - {host: a.com, limits: {rate: 120/min, concurrent: 4}}\n"
             "    - b.com\nlimits: {rate: 1/s, concurrent: 10}\n",
             LayerKind::project)});
  ASSERT_TRUE(p) << p.error().message;
  const RuleLimits a = p->decide(request("GET https://a.com/")).limits;
  EXPECT_EQ(to_string(a.rate.value()), "120/min");
  EXPECT_EQ(a.concurrent, 4U);
  EXPECT_EQ(p->decide(request("GET https://b.com/")).limits.rate, std::nullopt);
  EXPECT_EQ(to_string(p->limits().rate.value()), "1000/h");
  EXPECT_EQ(p->limits().concurrent, 9U);
  // Each request inside is counted by the rule that allows it, the connection is not.
  EXPECT_EQ(p->decide(request("CONNECT a.com:443")).limits.rate, std::nullopt);
}

TEST(PolicySecrets, GoWhereTheirHostsAndTheRuleSay) {
  const auto p = Policy::compile(
      {layer("secrets:\n"
             "  KEY: {from: \"env:KEY\", hosts: [api.a.com], header: X-Api-Key, placeholder: sk-}\n"
             "  ALL: {from: \"file:/run/all\", hosts: [\"*.a.com\"], in: [query]}\n",
             LayerKind::user, "config.yaml"),
       layer("egress:\n  allow:\n    - {host: api.a.com, paths: [/v1], secrets: [KEY, MISSING]}\n"
             "    - {host: api.a.com, paths: [/v2], secrets: []}\n"
             "    - \"*.a.com\"\n",
             LayerKind::project)});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_EQ(p->decide(request("GET https://api.a.com/v1")).secrets,
            (std::vector<std::string>{"KEY", "MISSING"}));
  EXPECT_EQ(p->decide(request("GET https://api.a.com/v2")).secrets, std::vector<std::string>());
  EXPECT_EQ(p->decide(request("GET https://api.a.com/v3")).secrets, std::nullopt);
  const auto may = [&](std::string_view name, std::string_view host) {
    return p->secret_may_go(name, *http::normalise_host(host));
  };
  EXPECT_TRUE(may("KEY", "api.a.com"));
  EXPECT_FALSE(may("KEY", "b.a.com"));
  EXPECT_TRUE(may("ALL", "b.a.com"));
  EXPECT_FALSE(may("ALL", "a.com"));
  EXPECT_FALSE(may("ALL", "ba.com"));
  EXPECT_FALSE(may("MISSING", "api.a.com"));
  ASSERT_EQ(p->secrets().size(), 2U);
  EXPECT_EQ(p->secrets()[0].name, "ALL");
  EXPECT_EQ(p->secrets()[0].header, "authorization");
  EXPECT_TRUE(p->secrets()[0].in_query);
  EXPECT_EQ(p->secrets()[1].header, "x-api-key");
  EXPECT_EQ(p->secrets()[1].placeholder, "sk-");
  EXPECT_EQ(p->secrets()[1].from, "env:KEY");
  EXPECT_THAT(p->warnings(),
              ElementsAre("pinhole.yaml:3: no file defines the secret MISSING; the user's own file "
                          "can, under \"secrets\""));
}

TEST(PolicyUpstreamProxy, LeavesOnlyExactHosts) {
  const Policy p = policy(
      "upstream_proxy: http://proxy.corp:3128\n"
      "egress: {allow: [a.com, \"*.b.com\", x.b.com/x, \"*.b.com/y\", \"*\"]}\n");
  EXPECT_EQ(p.upstream_proxy()->host.name, "proxy.corp");
  EXPECT_EQ(p.upstream_proxy()->port, 3128);
  EXPECT_EQ(decide(p, "GET https://a.com/"), "allow pinhole.yaml:2");
  EXPECT_EQ(decide(p, "CONNECT a.com:443"), "allow pinhole.yaml:2");
  EXPECT_EQ(decide(p, "GET https://x.b.com/x"), "allow pinhole.yaml:2");
  EXPECT_EQ(decide(p, "GET https://x.b.com/y"), "deny default");
  EXPECT_EQ(decide(p, "CONNECT y.b.com:443"), "deny default");
  EXPECT_EQ(
      reason(p, "GET https://y.b.com/"),
      "\"*.b.com\" (pinhole.yaml:2) allows nothing with an upstream_proxy, which resolves the "
      "names itself: allow y.b.com by its exact name");
  EXPECT_EQ(decide(p, "GET https://c.com/"), "deny default");
  EXPECT_TRUE(p.may_resolve(*http::normalise_host("a.com"), 443));
  EXPECT_FALSE(p.may_resolve(*http::normalise_host("y.b.com"), 443));
}

TEST(PolicyResolver, IsTheLastThatSpeaks) {
  EXPECT_TRUE(Policy().resolver_servers().empty());
  const Policy p = policy("resolver: [9.9.9.9, \"[2620:fe::fe]:5353\"]");
  ASSERT_EQ(p.resolver_servers().size(), 2U);
  EXPECT_EQ(to_string(p.resolver_servers()[0]), "9.9.9.9:53");
  EXPECT_EQ(to_string(p.resolver_servers()[1]), "[2620:fe::fe]:5353");
}

}  // namespace
}  // namespace pinhole::policy
