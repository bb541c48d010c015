// SPDX-License-Identifier: Apache-2.0
#include "http/host.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

std::string host(std::string_view text) {
  const auto result = normalise_host(text);
  if (!result) {
    EXPECT_EQ(result.error().code, kInvalidUrl);
    EXPECT_EQ(result.error().status, 400);
    return result.error().detail;
  }
  return result->in_url();
}

TEST(Host, NamesAreLowerCaseWithoutTheTrailingDot) {
  EXPECT_EQ(host("Example.COM"), "example.com");
  EXPECT_EQ(host("example.com."), "example.com");
  EXPECT_EQ(host("my_bucket.s3.example.com"), "my_bucket.s3.example.com");
  EXPECT_EQ(host("localhost"), "localhost");
  EXPECT_EQ(host("r3---sn-4g5e.example.com"), "r3---sn-4g5e.example.com");
}

TEST(Host, BrokenNamesAreRefused) {
  EXPECT_EQ(host(""), "host \"\" is empty");
  EXPECT_EQ(host("."), "host \".\" is empty");
  EXPECT_EQ(host("example.com.."), "host \"example.com..\" has an empty label");
  EXPECT_EQ(host("a..b"), "host \"a..b\" has an empty label");
  EXPECT_EQ(host(".a"), "host \".a\" has an empty label");
  EXPECT_EQ(host("-a.com"), "host \"-a.com\" has a label that starts or ends with \"-\"");
  EXPECT_EQ(host("a b"), "host \"a b\" holds \" \", which no host name does");
  EXPECT_EQ(host("a%2eb"), "host \"a%2eb\" holds \"%\", which no host name does");
  EXPECT_EQ(host("*.a.com"), "host \"*.a.com\" holds \"*\", which no host name does");
  EXPECT_EQ(host("a\\b"), "host \"a\\b\" holds \"\\\", which no host name does");
  EXPECT_EQ(host("a/b"), "host \"a/b\" holds \"/\", which no host name does");
  EXPECT_EQ(host("a\nb"), "host \"a\\nb\" holds \"\\n\", which no host name does");
  EXPECT_EQ(host(std::string_view("a.com\0.b.com", 12)),
            "host \"a.com\\x00.b.com\" holds a NUL byte");
}

TEST(Host, LengthsAreBounded) {
  EXPECT_TRUE(normalise_host(std::string(63, 'a') + ".com"));
  EXPECT_FALSE(normalise_host(std::string(64, 'a') + ".com"));
  std::string name;
  for (int i = 0; i < 126; ++i) name += "a.";
  EXPECT_TRUE(normalise_host(name + "b"));  // 253
  EXPECT_FALSE(normalise_host(name + "bc"));
  EXPECT_FALSE(normalise_host(std::string(100'000, 'a')));
  EXPECT_FALSE(normalise_host("ä" + std::string(100'000, 'a')));
}

TEST(Host, OnlyADottedQuadIsAnIpv4Address) {
  EXPECT_EQ(host("93.184.216.34"), "93.184.216.34");
  EXPECT_TRUE(normalise_host("93.184.216.34")->ip);
  EXPECT_EQ(host("93.184.216.34."), "93.184.216.34");
  for (const char* text :
       {"127.1", "0x7f.1", "0x7f000001", "017700000001", "2130706433", "127.0.0.01", "1.2.3.4.5",
        "1.2.3.256", "a.1", "example.0x1", "0x", "1."}) {
    EXPECT_EQ(host(text), "host \"" + std::string(text) +
                              "\" looks like an IPv4 address but is not four decimal numbers");
  }
  EXPECT_EQ(host("1.example"), "1.example");
}

TEST(Host, Ipv6IsInBracketsWithoutZone) {
  EXPECT_EQ(host("[2001:DB8::0001]"), "[2001:db8::1]");
  EXPECT_EQ(normalise_host("[::1]")->name, "::1");
  EXPECT_EQ(host("[fe80::1%25eth0]"),
            "host \"[fe80::1%25eth0]\" is not a valid IPv6 address (zone ids are not allowed)");
  EXPECT_EQ(host("[fe80::1%eth0]").substr(0, 5), "host ");
  EXPECT_FALSE(normalise_host("::1"));
  EXPECT_FALSE(normalise_host("[]"));
  EXPECT_FALSE(normalise_host("[127.0.0.1]"));
  EXPECT_FALSE(normalise_host("[::1"));
}

TEST(Host, InternationalNamesBecomeALabels) {
  EXPECT_EQ(host("bücher.example"), "xn--bcher-kva.example");
  EXPECT_EQ(host("BÜCHER.example"), "xn--bcher-kva.example");
  EXPECT_EQ(host("straße.example"), "xn--strae-oqa.example");  // nontransitional
  EXPECT_EQ(host("xn--bcher-kva.example"), "xn--bcher-kva.example");
  EXPECT_EQ(host("XN--BCHER-KVA.example"), "xn--bcher-kva.example");
  EXPECT_EQ(host("例え。テスト"), "xn--r8jz45g.xn--zckzah");  // an ideographic full stop
}

TEST(Host, FullWidthDigitsAreTheAddressThatTheySpell) {
  EXPECT_EQ(host("１２７.0.0.1"), "127.0.0.1");
  EXPECT_TRUE(normalise_host("１２７.0.0.1")->ip);
  EXPECT_FALSE(normalise_host("１２７.1"));
}

TEST(Host, FakeALabelsAreRefused) {
  EXPECT_EQ(host("xn--a.example"), "host \"xn--a.example\" holds a broken \"xn--\" label");
  EXPECT_EQ(host("xn--example-.com").substr(0, 5), "host ");
  EXPECT_FALSE(normalise_host("xn--.com"));
  EXPECT_FALSE(normalise_host("xn--zzzzzzzzzzzzzzz99999999.com"));
  EXPECT_FALSE(normalise_host("\xff.com"));
}

TEST(Authority, PortsAreDecimal) {
  EXPECT_EQ(parse_authority("a.com:443")->port, 443);
  EXPECT_EQ(parse_authority("a.com")->port, std::nullopt);
  EXPECT_EQ(parse_authority("[::1]:8080")->port, 8080);
  EXPECT_EQ(parse_authority("[::1]:8080")->host.name, "::1");
  for (const char* bad : {"a.com:", "a.com:0", "a.com:65536", "a.com:080", "a.com:+80", "a.com:80a",
                          "a.com:80:80", ":80", "[::1]x", "[::1]x:80", "::1"}) {
    EXPECT_FALSE(parse_authority(bad)) << bad;
  }
}

TEST(Authority, UserinfoIsRefusedWithoutShowingIt) {
  EXPECT_EQ(parse_authority("user:secret@a.com").error().detail,
            "\"@a.com\" holds a user name; credentials do not belong into a URL");
  EXPECT_FALSE(parse_authority("a.com@b.com"));
}

}  // namespace
}  // namespace pinhole::http
