// SPDX-License-Identifier: Apache-2.0
#include "http/address.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

std::string class_of(std::string_view text) {
  const auto address = parse_ip(text);
  if (!address) return "not an address";
  const AddressClass found = classify(*address);
  EXPECT_EQ(found.is_public, found.name == "public") << text;
  return found.name;
}

TEST(IpAddress, V4IsFourPlainDecimalNumbers) {
  EXPECT_EQ(to_string(*parse_ipv4("192.0.2.1")), "192.0.2.1");
  EXPECT_EQ(to_string(*parse_ipv4("0.0.0.0")), "0.0.0.0");
  for (const char* bad :
       {"", "127.1", "0x7f.0.0.1", "127.0.0.01", "0177.0.0.1", "2130706433", "1.2.3.4.5",
        "1.2.3.256", "1.2.3.", ".1.2.3", " 1.2.3.4", "1.2.3.4 ", "1.2.3.+4", "1.2.3.4\n"}) {
    EXPECT_FALSE(parse_ipv4(bad)) << bad;
  }
}

TEST(IpAddress, V6HasOneSpellingOut) {
  EXPECT_EQ(to_string(*parse_ipv6("2001:DB8:0:0:0:0:0:1")), "2001:db8::1");
  EXPECT_EQ(to_string(*parse_ipv6("::")), "::");
  EXPECT_EQ(to_string(*parse_ipv6("::ffff:1.2.3.4")), "::ffff:1.2.3.4");
  for (const char* bad : {"", ":", "1::2::3", "fe80::1%eth0", "[::1]", "::1/64", "12345::", "::g",
                          "1:2:3:4:5:6:7:8:9", "::ffff:1.2.3.04"}) {
    EXPECT_FALSE(parse_ipv6(bad)) << bad;
  }
  EXPECT_FALSE(parse_ipv6(std::string_view("::1\0x", 5)));
}

TEST(IpAddress, EndpointsHaveAPort) {
  EXPECT_EQ(to_string(*parse_endpoint("10.1.2.3:443")), "10.1.2.3:443");
  EXPECT_EQ(to_string(*parse_endpoint("[::1]:80")), "[::1]:80");
  for (const char* bad : {"10.1.2.3", "::1:80", "[::1]", "[10.1.2.3]:80", "10.1.2.3:0",
                          "10.1.2.3:65536", "host:80", ":80", "[]:80"}) {
    EXPECT_FALSE(parse_endpoint(bad)) << bad;
  }
}

TEST(AddressClass, V4BlocksBeginAndEndWhereTheRegistrySays) {
  const struct {
    const char* before;
    const char* first;
    const char* last;
    const char* after;
    const char* name;
  } kBlocks[] = {
      {nullptr, "0.0.0.0", "0.255.255.255", "1.0.0.0", "this network"},
      {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "private"},
      {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "shared (CGNAT)"},
      {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "loopback"},
      {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "link-local"},
      {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "private"},
      {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", "protocol assignment"},
      {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "documentation"},
      {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "6to4 relay"},
      {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "private"},
      {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "benchmarking"},
      {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "documentation"},
      {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "documentation"},
      {"223.255.255.255", "224.0.0.0", "239.255.255.255", nullptr, "multicast"},
      {nullptr, "240.0.0.0", "255.255.255.254", nullptr, "reserved"},
      {nullptr, "255.255.255.255", "255.255.255.255", nullptr, "broadcast"},
  };
  for (const auto& block : kBlocks) {
    EXPECT_EQ(class_of(block.first), block.name) << block.first;
    EXPECT_EQ(class_of(block.last), block.name) << block.last;
    if (block.before != nullptr) EXPECT_EQ(class_of(block.before), "public") << block.before;
    if (block.after != nullptr) EXPECT_EQ(class_of(block.after), "public") << block.after;
  }
}

TEST(AddressClass, MetadataServicesAreNamed) {
  for (const char* text : {"169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16",
                           "192.0.0.192", "fd00:ec2::254"}) {
    EXPECT_EQ(class_of(text), "metadata") << text;
  }
  EXPECT_EQ(class_of("168.63.129.17"), "public");
}

TEST(AddressClass, V6SpecialBlocksAreNotPublic) {
  const struct {
    const char* address;
    const char* name;
  } kCases[] = {
      {"::", "unspecified"},
      {"::1", "loopback"},
      {"100::1", "discard-only"},
      {"100:0:0:1::1", "dummy"},
      {"2001:db8::1", "documentation"},
      {"2001:2::1", "benchmarking"},
      {"2001:20::1", "protocol assignment"},
      {"2001:1ff:ffff::1", "protocol assignment"},
      {"3fff:fff::1", "documentation"},
      {"5f00::1", "segment routing"},
      {"fc00::1", "unique local"},
      {"fdff:ffff::1", "unique local"},
      {"fe80::1", "link-local"},
      {"febf::1", "link-local"},
      {"fec0::1", "site-local"},
      {"ff02::1", "multicast"},
      {"ffff::1", "multicast"},
      {"4000::1", "reserved"},
      {"200::1", "reserved"},
      {"1fff::1", "reserved"},
      {"fe00::1", "reserved"},
  };
  for (const auto& c : kCases) EXPECT_EQ(class_of(c.address), c.name) << c.address;
  for (const char* text : {"2606:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2003::1",
                           "3ffe::1", "2620:4f:8000::1"}) {
    EXPECT_EQ(class_of(text), "public") << text;
  }
}

TEST(AddressClass, V6ThatCarriesV4IsNeverPublicAndTellsWhatIsInside) {
  EXPECT_EQ(class_of("::ffff:127.0.0.1"), "IPv4-mapped (loopback 127.0.0.1)");
  EXPECT_EQ(class_of("::ffff:8.8.8.8"), "IPv4-mapped (public 8.8.8.8)");
  EXPECT_EQ(class_of("::127.0.0.1"), "IPv4-compatible (loopback 127.0.0.1)");
  EXPECT_EQ(class_of("::ffff:0:10.0.0.1"), "IPv4-translated (private 10.0.0.1)");
  EXPECT_EQ(class_of("64:ff9b::169.254.169.254"), "NAT64 (metadata 169.254.169.254)");
  EXPECT_EQ(class_of("64:ff9b:1::10.0.0.1"), "NAT64 (local use) (private 10.0.0.1)");
  EXPECT_EQ(class_of("2002:7f00:1::1"), "6to4 (loopback 127.0.0.1)");
  EXPECT_EQ(class_of("2001:0:0:0:0:0:80ff:fffe"), "Teredo (loopback 127.0.0.1)");
}

}  // namespace
}  // namespace pinhole::http
