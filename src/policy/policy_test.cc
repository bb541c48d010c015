// SPDX-License-Identifier: Apache-2.0
#include "policy/policy.h"

#include <algorithm>

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

TEST(PolicyPorts, AreThoseThatSomethingIsAllowedOn) {
  EXPECT_THAT(Policy().ports(), ElementsAre(22, 80, 443));
  EXPECT_THAT(policy(R"(
egress:
  allow: [a.com, "b.com:8080", "http://c.com:8000/x/**", tcp://db.com:5432, tcp://git.com:22]
  deny: ["*:25", tcp://a.com:2222]
)")
                  .ports(),
              ElementsAre(22, 80, 443, 5432, 8000, 8080));
}

TEST(PolicyPorts, AreForTheWebWhereNoRuleMeansBytes) {
  const Policy mixed = policy(R"(
egress:
  allow: ["a.com:8080", tcp://b.com:8080, "http://c.com:8000", {host: "d.com:8443", tls: tunnel},
          tcp://e.com:443]
)");
  for (const std::uint16_t port : std::vector<std::uint16_t>{80, 443, 8000, 8443})
    EXPECT_TRUE(mixed.is_web_port(port)) << port;
  for (const std::uint16_t port : std::vector<std::uint16_t>{22, 8080, 81})
    EXPECT_FALSE(mixed.is_web_port(port)) << port;
}

TEST(PolicyPorts, AreBoundedAndWhatIsLeftOutIsSaid) {
  std::string text = "egress:\n  allow:\n";
  for (int port = 1000; port < 1253; ++port) text += fmt::format("    - tcp://a.com:{}\n", port);
  EXPECT_EQ(policy(text).ports().size(), Policy::kMostPorts);
  EXPECT_TRUE(policy(text).warnings().empty());
  text += "    - tcp://a.com:999\n    - tcp://b.com:999\n    - tcp://a.com:2000\n";
  const Policy more = policy(text);
  EXPECT_EQ(more.ports().size(), Policy::kMostPorts);
  EXPECT_FALSE(std::ranges::binary_search(more.ports(), 999));
  EXPECT_EQ(more.warnings(),
            std::vector<std::string>{
                "258 ports are allowed; connections to 2 of them, 999 among them, are carried for "
                "programs that use the proxy variables alone"});
  EXPECT_TRUE(more.decide(request("CONNECT b.com:999")).allowed());
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
