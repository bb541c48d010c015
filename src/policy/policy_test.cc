// SPDX-License-Identifier: Apache-2.0
#include "policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::policy {
namespace {

using testing::ElementsAre;

Layer layer(std::string_view text, LayerKind kind = LayerKind::user,
            std::string_view source = "pinhole.yaml") {
  auto document = yaml::parse(text, source);
  EXPECT_TRUE(document) << document.error().message;
  return {.kind = kind, .document = *std::move(document), .foreign_keys = {}};
}

Policy policy(std::string_view text) {
  auto result = Policy::compile({layer(text)});
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Policy();
}

Request request(std::string_view text) {
  const std::size_t space = text.find(' ');
  const std::string method(text.substr(0, space));
  if (method == "CONNECT") {
    auto authority = http::parse_authority(text.substr(space + 1));
    return Request::connect(authority->host, *authority->port);
  }
  auto url = http::parse_url(text.substr(space + 1));
  EXPECT_TRUE(url) << text;
  return Request::of(method, *url);
}

/// "allow <rule>" or "deny <rule>".
std::string decide(const Policy& policy, std::string_view text) {
  const Verdict verdict = policy.decide(request(text));
  return (verdict.allowed() ? "allow " : "deny ") + verdict.rule;
}
std::string reason(const Policy& policy, std::string_view text) {
  return policy.decide(request(text)).reason;
}

TEST(PolicyDecide, NoPolicyDeniesEverything) {
  EXPECT_EQ(decide(Policy(), "GET https://a.com/"), "deny default");
  EXPECT_EQ(decide(*Policy::compile({}), "GET https://a.com/"), "deny default");
  EXPECT_EQ(decide(policy(""), "GET https://a.com/"), "deny default");
  EXPECT_EQ(decide(policy("version: 1\negress: {allow: []}\n"), "CONNECT a.com:443"),
            "deny default");
  EXPECT_EQ(reason(policy(""), "GET https://a.com/"), "no rule allows host a.com");
  EXPECT_FALSE(Policy().may_resolve(*http::normalise_host("a.com"), 443));
}

TEST(PolicyDecide, HostAloneIsHttpsOn443AndHttpOn80) {
  const Policy p = policy("egress:\n  allow:\n    - a.com\n");
  EXPECT_EQ(decide(p, "GET https://a.com/"), "allow pinhole.yaml:3");
  EXPECT_EQ(decide(p, "POST http://a.com/x/y?z"), "allow pinhole.yaml:3");
  EXPECT_EQ(decide(p, "GET https://A.COM./"), "allow pinhole.yaml:3");
  EXPECT_EQ(decide(p, "GET https://a.com:8443/"), "deny default");
  EXPECT_EQ(decide(p, "GET http://a.com:443/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://a.com:80/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://b.a.com/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://a.com.evil.net/"), "deny default");
  EXPECT_EQ(
      reason(p, "GET https://a.com:8443/"),
      "host a.com is allowed only for https on port 443 and http on port 80 (pinhole.yaml:3)");
  EXPECT_EQ(reason(p, "GET https://a.com/x?secret=1"),
            "GET https://a.com/x matches allow rule at pinhole.yaml:3");
}

TEST(PolicyDecide, HostSuffixMatchesWholeLabelsOnly) {
  const Policy p = policy("egress: {allow: [\"*.example.com\"]}");
  EXPECT_EQ(decide(p, "GET https://a.example.com/"), "allow pinhole.yaml:1");
  EXPECT_EQ(decide(p, "GET https://a.b.example.com/"), "allow pinhole.yaml:1");
  EXPECT_EQ(decide(p, "GET https://example.com/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://badexample.com/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://example.com.evil.net/"), "deny default");
}

TEST(PolicyDecide, StarIsEveryPublicName) {
  const Policy p =
      policy("egress: {allow: [\"*\"]}\ninternal: [\"db.corp:443 -> 10.0.0.1:443\"]\n");
  EXPECT_EQ(decide(p, "GET https://a.com/"), "allow pinhole.yaml:1");
  EXPECT_EQ(decide(p, "GET https://localhost/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://93.184.216.34/"), "deny default");
  EXPECT_EQ(reason(p, "GET https://93.184.216.34/"),
            "no rule names the address 93.184.216.34; \"*\" and names do not cover addresses");
  EXPECT_EQ(decide(p, "GET https://[2606:4700::1]/"), "deny default");
  EXPECT_EQ(
      reason(p, "GET https://db.corp/"),
      "\"*\" (pinhole.yaml:1) is for public hosts, and db.corp:443 is internal: allow it by name");
  EXPECT_THAT(p.warnings(), ElementsAre("pinhole.yaml:1: \"*\" allows every public host"));
}

TEST(PolicyDecide, StarAllowsNoReadingOfAPathOnAnInternalHost) {
  const Policy p = policy(
      "egress:\n  allow:\n    - https://db.corp/a/*\n    - \"*\"\n"
      "internal: [\"db.corp:443 -> 10.0.0.1:443\"]\n");
  EXPECT_EQ(decide(p, "GET https://db.corp/a/b"), "allow pinhole.yaml:3");
  EXPECT_EQ(
      reason(p, "GET https://db.corp/a/b%2Fc"),
      "\"*\" (pinhole.yaml:4) is for public hosts, and db.corp:443 is internal: allow it by name");
  EXPECT_EQ(decide(p, "GET https://a.com/a/b%2Fc"), "allow pinhole.yaml:4");
}

TEST(PolicyDecide, AddressesMatchOnlyRulesThatSpellThem) {
  const Policy p =
      policy("egress: {allow: [93.184.216.34, \"[2606:4700:0::1]:443\", \"*.216.34x\"]}");
  EXPECT_EQ(decide(p, "GET https://93.184.216.34/"), "allow pinhole.yaml:1");
  EXPECT_EQ(decide(p, "GET https://93.184.216.35/"), "deny default");
  EXPECT_EQ(decide(p, "GET https://[2606:4700::0001]/"), "allow pinhole.yaml:1");
}

TEST(PolicyDecide, MethodsAndPaths) {
  const Policy p = policy(
      "egress:\n"
      "  allow:\n"
      "    - GET,HEAD https://api.github.com/repos/**\n"
      "    - https://api.github.com/users/*/keys\n"
      "    - POST https://api.github.com/gists\n"
      "    - GET https://api.github.com/dir/\n");
  EXPECT_EQ(decide(p, "GET https://api.github.com/repos/a/b"), "allow pinhole.yaml:3");
  EXPECT_EQ(decide(p, "HEAD https://api.github.com/repos/"), "allow pinhole.yaml:3");
  EXPECT_EQ(decide(p, "GET https://api.github.com/repos"), "deny default");
  EXPECT_EQ(decide(p, "GET https://api.github.com/reposx/a"), "deny default");
  EXPECT_EQ(decide(p, "POST https://api.github.com/repos/a"), "deny default");
  EXPECT_EQ(decide(p, "DELETE https://api.github.com/users/me/keys"), "allow pinhole.yaml:4");
  EXPECT_EQ(decide(p, "GET https://api.github.com/users//keys"), "deny default");
  EXPECT_EQ(decide(p, "GET https://api.github.com/users/a/b/keys"), "deny default");
  EXPECT_EQ(decide(p, "POST https://api.github.com/gists"), "allow pinhole.yaml:5");
  EXPECT_EQ(decide(p, "POST https://api.github.com/gists?x=1"), "allow pinhole.yaml:5");
  EXPECT_EQ(decide(p, "POST https://api.github.com/gists/"), "deny default");
  EXPECT_EQ(decide(p, "POST https://api.github.com/Gists"), "deny default");
  EXPECT_EQ(decide(p, "POST https://api.github.com/gist%73"), "allow pinhole.yaml:5");
  EXPECT_EQ(decide(p, "GET https://api.github.com/dir/"), "allow pinhole.yaml:6");
  EXPECT_EQ(decide(p, "GET https://api.github.com/dir"), "deny default");
  EXPECT_EQ(decide(p, "GET http://api.github.com/repos/a"), "deny default");
}

TEST(PolicyDecide, ReasonsNameTheRulesThatComeClose) {
  const Policy one = policy("egress:\n  allow:\n    - GET https://api.example.com/v1/models\n");
  EXPECT_EQ(reason(one, "GET https://api.example.com/v1/keys"),
            "host api.example.com is allowed only for GET /v1/models (pinhole.yaml:3)");
  EXPECT_EQ(reason(one, "GET http://api.example.com/v1/models"),
            "host api.example.com is allowed only for GET /v1/models with https on port 443 "
            "(pinhole.yaml:3)");
  EXPECT_EQ(reason(one, "CONNECT api.example.com:8443"),
            "host api.example.com is allowed only for GET /v1/models with https on port 443 "
            "(pinhole.yaml:3)");
  const Policy many = policy(
      "egress:\n  allow:\n    - GET https://a.com/1\n    - GET https://a.com/2\n"
      "    - GET https://a.com/3\n    - GET https://a.com/4\n");
  EXPECT_EQ(reason(many, "GET https://a.com/5"),
            "host a.com is allowed only for GET /1 (pinhole.yaml:3), GET /2 (pinhole.yaml:4), "
            "GET /3 (pinhole.yaml:5) and more");
}

TEST(PolicyDecide, DenyWinsWhateverTheOrder) {
  const Policy p = policy(
      "egress:\n"
      "  deny:\n"
      "    - POST https://api.github.com/**\n"
      "    - evil.github.com\n"
      "  allow:\n"
      "    - \"*.github.com\"\n");
  EXPECT_EQ(decide(p, "GET https://api.github.com/gists"), "allow pinhole.yaml:6");
  EXPECT_EQ(decide(p, "POST https://api.github.com/gists"), "deny pinhole.yaml:3");
  EXPECT_EQ(reason(p, "POST https://api.github.com/gists?a"),
            "POST https://api.github.com/gists matches deny rule at pinhole.yaml:3");
  EXPECT_EQ(decide(p, "GET https://evil.github.com/"), "deny pinhole.yaml:4");
  EXPECT_EQ(decide(p, "GET http://evil.github.com/"), "deny pinhole.yaml:4");
  EXPECT_EQ(decide(p, "CONNECT evil.github.com:443"), "deny pinhole.yaml:4");
}

TEST(PolicyDecide, DenyIsWideWhereItSaysNothing) {
  const Policy p = policy(
      "egress:\n"
      "  allow: [\"a.com:8443\", \"http://a.com\", \"b.com:9000\", localhost, "
      "10.0.0.1]\n"
      "  deny: [\"https://a.com\", \"b.com:8443\"]\n");
  EXPECT_EQ(decide(p, "GET https://a.com:8443/"), "deny pinhole.yaml:3");
  EXPECT_EQ(decide(p, "GET http://a.com:8443/"), "allow pinhole.yaml:2");
  EXPECT_EQ(decide(p, "GET http://a.com/"), "allow pinhole.yaml:2");
  EXPECT_EQ(decide(p, "GET http://b.com:9000/"), "allow pinhole.yaml:2");
  EXPECT_EQ(decide(p, "GET https://localhost/"), "allow pinhole.yaml:2");
}

TEST(PolicyDecide, DenyOfAnotherLayerHolds) {
  const auto p = Policy::compile(
      {layer("egress: {deny: [\"*\"]}", LayerKind::organisation, "/etc/pinhole/policy.yaml"),
       layer("egress: {allow: [a.com, localhost, 10.0.0.1]}")});
  ASSERT_TRUE(p) << p.error().message;
  for (const char* text : {"GET https://a.com/", "GET http://localhost/", "GET http://10.0.0.1/",
                           "CONNECT a.com:443"}) {
    EXPECT_EQ(decide(*p, text), "deny /etc/pinhole/policy.yaml:1") << text;
  }
}

TEST(PolicyDecide, AllowsOfLayersAddUp) {
  const auto p = Policy::compile({layer("egress: {allow: [a.com]}", LayerKind::user, "config.yaml"),
                                  layer("egress: {allow: [a.com, b.com]}", LayerKind::project)});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_EQ(decide(*p, "GET https://a.com/"), "allow config.yaml:1");
  EXPECT_EQ(decide(*p, "GET https://b.com/"), "allow pinhole.yaml:1");
}

TEST(PolicyDecide, PathsAreDecidedInEveryReading) {
  const Policy p = policy(
      "egress:\n"
      "  allow:\n"
      "    - https://a.com/pub/*\n"
      "    - https://b.com\n"
      "    - https://c.com/@types%2Fnode\n"
      "  deny:\n"
      "    - https://b.com/admin/**\n");
  EXPECT_EQ(decide(p, "GET https://a.com/pub/x"), "allow pinhole.yaml:3");
  EXPECT_EQ(decide(p, "GET https://a.com/pub/x%2Fy"), "deny default");
  EXPECT_EQ(reason(p, "GET https://a.com/pub/x%2Fy"),
            "servers read the path of GET https://a.com/pub/x%2Fy in more than one way, and "
            "pinhole.yaml:3 allows only one of them");
  EXPECT_EQ(decide(p, "GET https://b.com/x%2Fy//z"), "allow pinhole.yaml:4");
  EXPECT_EQ(decide(p, "GET https://b.com//admin/x"), "deny pinhole.yaml:7");
  EXPECT_EQ(decide(p, "GET https://b.com/admin%2Fx"), "deny pinhole.yaml:7");
  EXPECT_EQ(decide(p, "GET https://b.com/admin;v=1/x"), "deny pinhole.yaml:7");
  EXPECT_EQ(decide(p, "GET https://b.com/%61dmin/x"), "deny pinhole.yaml:7");
  EXPECT_EQ(decide(p, "GET https://b.com/%2Fadmin//x"), "deny pinhole.yaml:7");
  EXPECT_EQ(decide(p, "GET https://c.com/@types%2fnode"), "allow pinhole.yaml:5");
}

TEST(PolicyDecide, MethodsInHeadersAreDecidedToo) {
  const Policy p =
      policy("egress: {allow: [\"POST,GET https://a.com/x\", b.com], deny: [DELETE b.com]}");
  const auto with = [&](std::string_view text, std::string method) {
    Request r = request(text);
    r.other_methods = {std::move(method)};
    const Verdict verdict = p.decide(r);
    return (verdict.allowed() ? "allow " : "deny ") + verdict.rule + ": " + verdict.reason;
  };
  EXPECT_EQ(with("POST https://a.com/x", "GET"),
            "allow pinhole.yaml:1: POST https://a.com/x matches allow rule at pinhole.yaml:1");
  EXPECT_EQ(with("POST https://a.com/x", "DELETE"),
            "deny default: host a.com is allowed only for POST,GET /x (pinhole.yaml:1) (a header "
            "replaces the method)");
  EXPECT_EQ(
      with("POST https://b.com/x", "DELETE"),
      "deny pinhole.yaml:1: DELETE https://b.com/x matches deny rule at pinhole.yaml:1 (a header "
      "replaces the method)");
  EXPECT_EQ(with("POST https://b.com/x", std::string(33, 'M')),
            "deny default: a header replaces the method by one of over 32 bytes");
  EXPECT_TRUE(with("POST https://b.com/x", std::string(32, 'M')).starts_with("allow"));
}

TEST(PolicyDecide, EncodedCharactersMatchTheirRules) {
  const Policy p = policy("egress: {allow: [\"https://a.com\"], deny: [\"https://a.com/a!b/**\"]}");
  EXPECT_EQ(decide(p, "GET https://a.com/a!b/x"), "deny pinhole.yaml:1");
  EXPECT_EQ(decide(p, "GET https://a.com/a%21b/x"), "deny pinhole.yaml:1");
}

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

TEST(PolicyAudit, TheStrongestOfAllLayersCounts) {
  EXPECT_EQ(Policy().audit(), AuditSettings{});
  const auto p = Policy::compile({layer("audit: {bodies: digest, sync: batch}", LayerKind::user),
                                  layer("audit: {bodies: size, sync: each}", LayerKind::project)});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_EQ(p->audit(), (AuditSettings{.bodies = AuditSettings::Bodies::digest,
                                       .sync = AuditSettings::Sync::each}));
}

TEST(PolicyDecide, LimitsAreTheSmallestThatApply) {
  const auto p = Policy::compile(
      {layer("limits: {response_body: 1GiB, connections: 100}\n", LayerKind::organisation),
       layer("egress:\n"
             "  allow:\n"
             "    - {host: a.com, limits: {request_body: 8MiB, response_body: 64KiB}}\n"
             "    - {host: c.com, limits: {response_body: 4GiB}}\n"
             "    - b.com\n"
             "limits: {connections: 300, idle: 5s, header_bytes: 16KiB}\n")});
  ASSERT_TRUE(p) << p.error().message;
  const BodyLimits a = p->decide(request("PUT https://a.com/")).limits;
  EXPECT_EQ(a.request_body, 8U << 20);
  EXPECT_EQ(a.response_body, 64U << 10);
  const BodyLimits b = p->decide(request("PUT https://b.com/")).limits;
  EXPECT_EQ(b.request_body, 64U << 20);
  EXPECT_EQ(b.response_body, 1U << 30);
  EXPECT_EQ(p->decide(request("PUT https://c.com/")).limits.response_body, 1U << 30);
  EXPECT_EQ(p->limits().connections, 100U);
  EXPECT_EQ(p->limits().idle, std::chrono::seconds(5));
  EXPECT_EQ(p->limits().header_bytes, 16U << 10);
}

TEST(PolicyResolve, OnlyNamesThatARuleCouldAllow) {
  const Policy p = policy(
      "egress:\n"
      "  allow: [\"GET https://a.com/x\", \"*.b.com\", c.com]\n"
      "  deny: [x.b.com, \"http://c.com\", \"POST y.b.com\"]\n");
  const auto may = [&](std::string_view host, std::uint16_t port) {
    return p.may_resolve(*http::normalise_host(host), port);
  };
  EXPECT_TRUE(may("a.com", 443));
  EXPECT_FALSE(may("a.com", 80));
  EXPECT_FALSE(may("a.com", 8443));
  EXPECT_TRUE(may("w.b.com", 80));
  EXPECT_FALSE(may("x.b.com", 443));
  EXPECT_TRUE(may("y.b.com", 443));
  EXPECT_TRUE(may("c.com", 443));
  EXPECT_FALSE(may("c.com", 80));
  EXPECT_FALSE(may("b.com", 443));
  EXPECT_FALSE(may("evil.net", 443));
}

TEST(PolicyInternal, MapsNamesToAddresses) {
  const Policy p = policy(
      "egress: {allow: [registry.corp]}\n"
      "internal:\n  - Registry.corp:443 -> 10.1.2.3:5000\n  - \"v6.corp:80->[fd00::1]:80\"\n"
      "ca: {Registry.corp: /etc/ssl/corp.pem}\n");
  const auto host = *http::normalise_host("registry.corp");
  EXPECT_EQ(to_string(*p.internal_address(host, 443)), "10.1.2.3:5000");
  EXPECT_EQ(p.internal_address(host, 80), std::nullopt);
  EXPECT_EQ(to_string(*p.internal_address(*http::normalise_host("v6.corp"), 80)), "[fd00::1]:80");
  EXPECT_EQ(p.ca_file(host), "/etc/ssl/corp.pem");
  EXPECT_EQ(p.ca_file(*http::normalise_host("other.corp")), std::nullopt);
  EXPECT_EQ(decide(p, "GET https://v6.corp/"), "deny default");  // a mapping allows nothing
}

TEST(PolicyBuiltin, IsExactAndInFrontOfAllRules) {
  const Builtin canary{.id = "builtin:canary",
                       .host = "canary.pinhole.internal",
                       .port = 80,
                       .path_prefix = "/canary/",
                       .address = *http::parse_endpoint("127.0.0.1:4444")};
  const auto p = Policy::compile({layer("egress: {deny: [\"*\"]}")}, {canary});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_EQ(decide(*p, "GET http://canary.pinhole.internal/canary/abc"), "allow builtin:canary");
  for (const char* text :
       {"GET http://canary.pinhole.internal/", "GET http://canary.pinhole.internal/canary",
        "GET http://canary.pinhole.internal/canaryx/abc",
        "POST http://canary.pinhole.internal/canary/abc",
        "GET https://canary.pinhole.internal/canary/abc",
        "GET http://canary.pinhole.internal:8080/canary/abc",
        "GET http://canary.pinhole.internal/canary/a%2Fb",
        "GET http://x.canary.pinhole.internal/canary/", "CONNECT canary.pinhole.internal:80"}) {
    EXPECT_TRUE(decide(*p, text).starts_with("deny ")) << text;
  }
  const auto host = *http::normalise_host("canary.pinhole.internal");
  EXPECT_EQ(to_string(*p->internal_address(host, 80)), "127.0.0.1:4444");
  EXPECT_TRUE(p->may_resolve(host, 80));
  EXPECT_FALSE(p->may_resolve(host, 443));
}

TEST(PolicyHash, TellsContentFromLayout) {
  const std::string hash = policy("egress: {allow: [a.com, b.com]}\nlimits: {idle: 5s}\n").hash();
  EXPECT_EQ(hash.size(), 7U + 64U);
  EXPECT_TRUE(hash.starts_with("sha256:"));
  EXPECT_EQ(
      policy("# note\nlimits:\n  idle: 5s\negress:\n  allow:\n  - a.com\n  - 'b.com'\n").hash(),
      hash);
  EXPECT_NE(policy("egress: {allow: [a.com, b.org]}\nlimits: {idle: 5s}\n").hash(), hash);
  EXPECT_NE(policy("egress: {deny: [a.com, b.com]}\nlimits: {idle: 5s}\n").hash(), hash);
  EXPECT_NE(Policy::compile({layer("egress: {allow: [a.com, b.com]}\nlimits: {idle: 5s}\n",
                                   LayerKind::project)})
                ->hash(),
            hash);
  EXPECT_NE(Policy().hash(), hash);
}

TEST(PolicyAudit, CredentialsAreAlwaysRedacted) {
  EXPECT_THAT(Policy().redacted_headers(),
              ElementsAre("authorization", "cookie", "proxy-authorization", "set-cookie"));
  EXPECT_THAT(
      policy("audit: {bodies: size, sync: off, redact: [X-Api-Key, Cookie]}").redacted_headers(),
      ElementsAre("authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"));
}

/// A policy with `count` hosts, and as many paths of one host.
Policy large(std::size_t count) {
  std::string text = "egress:\n  allow:\n";
  for (std::size_t i = 0; i < count; ++i) {
    text += fmt::format("    - h{}.example.com\n    - GET https://api.example.com/v1/items/{}/x\n",
                        i, i);
  }
  text += "  deny:\n";
  for (std::size_t i = 0; i < count; ++i) {
    text += fmt::format("    - POST https://api.example.com/v1/items/{}/y\n", i);
  }
  return policy(text);
}

TEST(PolicyCost, DoesNotGrowWithTheNumberOfRules) {
  const Policy ten = large(4);
  const Policy ten_thousand = large(3400);
  for (const char* text :
       {"GET https://h3.example.com/a/b/c", "GET https://api.example.com/v1/items/3/x",
        "POST https://api.example.com/v1/items/3/y", "GET https://api.example.com/v1/items/none/x",
        "GET https://other.example.org/", "CONNECT h2.example.com:443"}) {
    std::size_t few = 0;
    std::size_t many = 0;
    EXPECT_EQ(ten.decide(request(text), &few).action,
              ten_thousand.decide(request(text), &many).action);
    EXPECT_EQ(few, many) << text;
    EXPECT_LT(many, 40U) << text;
  }
}

TEST(PolicyCost, WildcardsOfManyRulesAreNotTriedOneByOne) {
  std::string text = "egress:\n  allow:\n";
  for (int i = 0; i < 3000; ++i) text += fmt::format("    - GET https://a.com/*/{}/x\n", i);
  std::size_t steps = 0;
  EXPECT_FALSE(policy(text).decide(request("GET https://a.com/q/9999/x"), &steps).allowed());
  EXPECT_LT(steps, 30U);
}

TEST(PolicyProperty, AddingADenyNeverAllowsMore) {
  const std::vector<std::string> rules = {"a.com",
                                          "\"*.a.com\"",
                                          "GET https://a.com/x/**",
                                          "\"https://a.com/x/*\"",
                                          "POST http://b.a.com:8080",
                                          "\"*\""};
  const std::vector<std::string> requests = {
      "GET https://a.com/x/y",      "POST https://a.com/x/y/z", "GET http://b.a.com:8080/",
      "POST http://b.a.com:8080/q", "CONNECT a.com:443",        "CONNECT c.a.com:443",
      "GET https://z.org/x%2Fy",    "GET https://a.com/x//y"};
  for (const std::string& allow : rules) {
    for (const std::string& deny : rules) {
      const Policy without = policy("egress: {allow: [" + allow + "]}");
      const auto with = Policy::compile(
          {layer("egress: {allow: [" + allow + "]}"), layer("egress: {deny: [" + deny + "]}")});
      ASSERT_TRUE(with);
      for (const std::string& text : requests) {
        if (with->decide(request(text)).allowed()) {
          EXPECT_TRUE(without.decide(request(text)).allowed()) << allow << deny << text;
        }
      }
    }
  }
}

}  // namespace
}  // namespace pinhole::policy
