// SPDX-License-Identifier: Apache-2.0
#include "wire/hello.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace pinhole::wire {
namespace {

std::string refusal(std::string_view line) {
  const auto message = parse_guest_message(line);
  return message ? "accepted" : message.error().message;
}
std::string host_refusal(std::string_view line) {
  const auto message = parse_host_message(line);
  return message ? "accepted" : message.error().message;
}

/// A line as a peer reads it: without the newline it must end with.
std::string_view line_of(const std::string& text) {
  EXPECT_TRUE(text.ends_with('\n'));
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  return std::string_view(text).substr(0, text.size() - 1);
}

TEST(Hello, GuestMessagesComeBackAsTheyWent) {
  const std::vector<GuestMessage> messages = {
      Hello{.boot_id = "b-1", .agent_version = "0.1.0", .instance_id = "iid-7"},
      Hello{.boot_id = "b-1", .agent_version = "0.1.0", .instance_id = ""},
      Ready{.nonce = "n0nce_-."},
      Stage{.name = StageName::cloud_init, .ok = false, .detail = "runcmd: \"x\"\n", .ms = 33'000},
      Stage{.name = StageName::door, .ok = true, .detail = "", .ms = 0},
      Marker{.name = MarkerName::boot_ok, .content = "time=1\nnonce=2\n"},
      Marker{.name = MarkerName::vsock_fetch, .content = std::string(kMarkerBytes, 'x')},
      Heartbeat{.seq = 3, .uptime_ms = 18446744073709551615U, .load_percent = 150},
      Heartbeat{.seq = 1, .uptime_ms = 2},
      Heartbeat{.seq = 1, .uptime_ms = 2, .disk_free = 0},
  };
  for (const GuestMessage& message : messages) {
    const std::string line = serialise(message);
    const auto back = parse_guest_message(line_of(line));
    ASSERT_TRUE(back) << line << back.error().message;
    EXPECT_EQ(*back, message) << line;
  }
}

TEST(Hello, HostMessagesComeBackAsTheyWent) {
  Welcome welcome{.nonce = "abc", .instance_id = "i-1", .workspace = true, .markers = true};
  for (std::size_t i = 0; i < kFetches; ++i) {
    welcome.fetches.push_back(
        {.url = "http://" + std::string(kUrlBytes - 7, 'a'), .method = "PUT"});
  }
  welcome.heartbeat_ms = 50;
  Welcome whole{.nonce = "abc",
                .machine = Machine{.hostname = "pinhole",
                                   .user = User{.name = "ana", .uid = 1000, .gid = 1000}},
                .capture = Capture{},
                .authority = std::string(kAuthorityBytes, 'c'),
                .time_ms = 1'700'000'000'000,
                .entropy = std::string(kEntropyDigits, 'a')};
  for (std::size_t i = 0; i < kMounts; ++i) {
    whole.mounts.push_back({.tag = "share-1",
                            .path = "/" + std::string(kMountPathBytes - 1, 'p'),
                            .read_only = i % 2 == 0});
  }
  for (std::size_t i = 0; i < kPorts; ++i)
    whole.capture->ports.push_back(static_cast<std::uint16_t>(65535 - i));
  const std::vector<HostMessage> messages = {Welcome{.nonce = "abc"},
                                             welcome,
                                             whole,
                                             HeartbeatAck{.seq = 9},
                                             HeartbeatAck{.seq = 9, .time_ms = 1, .entropy = "0f"},
                                             Ports{.ports = {80, 443}}};
  for (const HostMessage& message : messages) {
    const std::string line = serialise(message);
    EXPECT_LE(line.size(), kMessageBytes);
    const auto back = parse_host_message(line_of(line));
    ASSERT_TRUE(back) << line << back.error().message;
    EXPECT_EQ(*back, message) << line;
  }
}

TEST(Hello, TheFormatOnTheWireStays) {
  EXPECT_EQ(serialise(GuestMessage(Hello{.boot_id = "b", .agent_version = "1", .instance_id = ""})),
            "{\"v\":1,\"type\":\"hello\",\"boot_id\":\"b\",\"agent_version\":\"1\","
            "\"instance_id\":\"\"}\n");
  EXPECT_EQ(
      serialise(HostMessage(Welcome{.nonce = "n", .fetches = {{.url = "http://a/"}}})),
      "{\"v\":1,\"type\":\"welcome\",\"nonce\":\"n\",\"instance_id\":\"\",\"workspace\":false,"
      "\"markers\":false,\"heartbeat_ms\":5000,\"fetches\":[{\"url\":\"http://a/\","
      "\"method\":\"GET\"}]}\n");
}

TEST(Hello, ANewerVersionIsRefusedByName) {
  const auto message = parse_guest_message(R"({"v":2,"type":"hello","something":"new"})");
  ASSERT_FALSE(message);
  EXPECT_EQ(
      message.error().message,
      "guest message: version 2 is newer than version 1, the newest that this program speaks");
  EXPECT_EQ(message.error().code, "version_unknown");
}

TEST(Hello, WhatIsNotAMessageIsRefused) {
  EXPECT_EQ(refusal(""), "guest message: not valid JSON (incomplete JSON)");
  EXPECT_EQ(refusal("{"), "guest message: not valid JSON (incomplete JSON)");
  EXPECT_EQ(refusal("[1]"), "guest message: not a JSON object");
  EXPECT_EQ(refusal("{}"), "guest message: \"v\" is missing");
  EXPECT_EQ(refusal(R"({"v":"1"})"), "guest message: \"v\" is not a version number");
  EXPECT_EQ(refusal(R"({"v":0})"), "guest message: \"v\" is not a version number");
  EXPECT_EQ(refusal(R"({"v":-1})"), "guest message: \"v\" is not a version number");
  EXPECT_EQ(refusal(R"({"v":1})"), "guest message: \"type\" is missing");
  EXPECT_EQ(refusal(R"({"v":1,"type":7})"), "guest message: \"type\" is missing");
  EXPECT_EQ(refusal(R"({"v":1,"type":"wel\u001bcome"})"),
            "guest message: unknown type \"wel\\x1bcome\"");
  EXPECT_EQ(refusal(std::string(kMessageBytes + 1, ' ')), "guest message: longer than 16384 bytes");
  EXPECT_EQ(refusal("{\"v\":1,\"type\":\"ready\",\"nonce\":\"\xff\"}"),
            "guest message: not valid JSON (syntax error)");
  EXPECT_EQ(refusal(std::string(3000, '[')), "guest message: not valid JSON (too deep)");
}

TEST(Hello, MembersAreTypedBoundedAndKnown) {
  EXPECT_EQ(refusal(R"({"v":1,"type":"ready"})"), "guest message \"ready\": \"nonce\" is missing");
  EXPECT_EQ(refusal(R"({"v":1,"type":"ready","nonce":1})"),
            "guest message \"ready\": \"nonce\" is not a string");
  EXPECT_EQ(refusal(R"({"v":1,"type":"ready","nonce":"../x"})"),
            "guest message \"ready\": \"nonce\" is not made of letters, digits, '.', '_' and '-'");
  EXPECT_EQ(refusal(R"({"v":1,"type":"ready","nonce":"x","Nonce":"x"})"),
            "guest message \"ready\": unknown key \"Nonce\"");
  EXPECT_EQ(
      refusal(R"({"v":1,"type":"ready","nonce":")" + std::string(kWordBytes + 1, 'a') + "\"}"),
      "guest message \"ready\": \"nonce\" is longer than 128 bytes");
  EXPECT_EQ(refusal(R"({"v":1,"type":"ready","nonce":"x"})"), "accepted");
  EXPECT_EQ(refusal(R"({"v":1,"type":"stage","name":"moon","ok":true,"detail":"","ms":1})"),
            "guest message \"stage\": \"name\" is not a stage: \"moon\"");
  EXPECT_EQ(refusal(R"({"v":1,"type":"stage","name":"door","ok":1,"detail":"","ms":1})"),
            "guest message \"stage\": \"ok\" is not true or false");
  EXPECT_EQ(refusal(R"({"v":1,"type":"stage","name":"door","ok":true,"detail":"a\u0000","ms":1})"),
            "guest message \"stage\": \"detail\" holds a NUL byte");
  EXPECT_EQ(refusal(R"({"v":1,"type":"stage","name":"door","ok":true,"detail":"","ms":-1})"),
            "guest message \"stage\": \"ms\" is not a whole number");
  EXPECT_EQ(refusal(R"({"v":1,"type":"stage","name":"door","ok":true,"detail":"","ms":1.5})"),
            "guest message \"stage\": \"ms\" is not a whole number");
  EXPECT_EQ(refusal(R"({"v":1,"type":"marker","name":"../etc/passwd","content":""})"),
            "guest message \"marker\": \"name\" is not a marker: \"../etc/passwd\"");
  EXPECT_EQ(
      refusal(R"({"v":1,"type":"hello","boot_id":"a b","agent_version":"1","instance_id":""})"),
      "guest message \"hello\": \"boot_id\" holds something other than visible ASCII");
  EXPECT_EQ(refusal(R"({"v":1,"type":"heartbeat","seq":1,"uptime_ms":1,"load_percent":1000001})"),
            "guest message \"heartbeat\": \"load_percent\" is more than 1000000");
}

TEST(Hello, AWelcomeIsAsStrict) {
  const std::string head =
      R"({"v":1,"type":"welcome","nonce":"n","instance_id":"","workspace":true,"markers":false,)";
  EXPECT_EQ(host_refusal(head + R"("fetches":[]})"), "accepted");
  EXPECT_EQ(host_refusal(head + R"("fetches":{}})"),
            "host message \"welcome\": \"fetches\" is not a list");
  EXPECT_EQ(host_refusal(head + R"("fetches":[1]})"),
            "host message \"welcome\": \"fetches\" holds something that is not an object");
  EXPECT_EQ(host_refusal(head + R"("fetches":[{},{},{},{},{},{},{},{},{}]})"),
            "host message \"welcome\": \"fetches\" has more than 8 items");
  EXPECT_EQ(host_refusal(head + R"("fetches":[{"url":"file:///x","method":"GET"}]})"),
            "welcome's fetch: \"url\" starts with neither http:// nor https://");
  EXPECT_EQ(host_refusal(head + R"("fetches":[{"url":"http://x/ HTTP/1.1","method":"GET"}]})"),
            "welcome's fetch: \"url\" holds something other than visible ASCII");
  EXPECT_EQ(host_refusal(head + R"("fetches":[{"url":"http://x/","method":"get"}]})"),
            "welcome's fetch: \"method\" is not made of upper-case letters");
  EXPECT_EQ(host_refusal(head + R"("fetches":[],"heartbeat_ms":1})"),
            "host message \"welcome\": \"heartbeat_ms\" is less than 50");
  EXPECT_EQ(host_refusal(head + R"("fetches":[],"entropy":"xy"})"),
            "host message \"welcome\": \"entropy\" is not hexadecimal");
  EXPECT_EQ(host_refusal(head + R"("fetches":[],"capture":{"ports":[80,0]}})"),
            "welcome's capture: \"ports\" holds 0");
  EXPECT_EQ(host_refusal(head + R"("fetches":[],"mounts":[)" +
                         R"({"tag":"t","path":"rel","read_only":true}]})"),
            "welcome's mount: \"path\" is not an absolute path");
  EXPECT_EQ(host_refusal(R"({"v":1,"type":"ports","ports":[22]})"), "accepted");
  EXPECT_EQ(host_refusal(R"({"v":1,"type":"hello"})"), "host message: unknown type \"hello\"");
}

}  // namespace
}  // namespace pinhole::wire
