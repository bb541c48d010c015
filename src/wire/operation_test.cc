// SPDX-License-Identifier: Apache-2.0
#include "wire/operation.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "wire/frame.h"

namespace pinhole::wire {
namespace {

std::string request_refusal(std::string_view json) {
  const auto request = parse_request(json);
  return request ? "accepted" : request.error().message;
}
std::string reply_refusal(std::string_view json) {
  const auto reply = parse_reply(json);
  return reply ? "accepted" : reply.error().message;
}

TEST(Operation, RequestsComeBackAsTheyWent) {
  const std::vector<Request> requests = {
      ExecRequest{.argv = {"sh", "-c", "echo \"$X\"\n", ""},
                  .env = {"PATH=/bin", "X="},
                  .cwd = "/tmp",
                  .uid = 1000,
                  .gid = 4294967294},
      ExecRequest{.argv = {"bash"},
                  .terminal = WindowSize{.rows = 50, .columns = 132},
                  .limits = {{.name = "nofile", .value = 256}}},
      StatusRequest{},
      ShutdownRequest{},
      ReadFilesRequest{.path = "/etc"},
      WriteFilesRequest{.path = "/tmp/x", .name = "ü"},
      DialRequest{.port = 8080},
      ProbeRequest{.probes = {InterfacesProbe{},
                              ConnectProbe{.address = "::1", .port = 80, .timeout_ms = 10},
                              UdpProbe{.address = "8.8.8.8", .port = 53},
                              VsockProbe{.cids = {0, 1, 2}, .ports = {22, 4294967295}},
                              FetchProbe{.task = {.url = "https://a/b?c", .method = "POST"}},
                              MarkerProbe{}, EnvProbe{}}},
  };
  for (const Request& request : requests) {
    const auto json = serialise(request);
    ASSERT_TRUE(json) << json.error().message;
    const auto back = parse_request(*json);
    ASSERT_TRUE(back) << *json << back.error().message;
    EXPECT_EQ(*back, request) << *json;
  }
}

TEST(Operation, RepliesComeBackAsTheyWent) {
  const std::vector<Reply> replies = {
      ExecReply{.exit = 7},
      ExecReply{.signal = 9},
      StatusReply{.uptime_ms = 5,
                  .boot_id = "b",
                  .agent_version = "0.1.0",
                  .cloud_init = "done",
                  .instance_id = "i",
                  .detail = "d"},
      ProbeReply{.results = {{.name = "marker", .ok = true, .evidence = "a=1\nb=2\n", .ms = 3},
                             {.name = "fetch GET http://a/",
                              .ok = true,
                              .evidence = "status=403",
                              .ms = 1,
                              .fetch = FetchOutcome{.status = 403,
                                                    .bytes = 10,
                                                    .sha256 = std::string(64, 'a'),
                                                    .code = "denied_by_policy",
                                                    .rule = "pinhole.yaml:3"}}}},
      ShutdownReply{},
      FilesReply{.entries = 3, .bytes = 1U << 31U},
      DialReply{},
      ErrorReply{.code = "not_found", .message = "nosuch: not found"},
  };
  for (const Reply& reply : replies) {
    const auto back = parse_reply(serialise(reply));
    ASSERT_TRUE(back) << serialise(reply) << back.error().message;
    EXPECT_EQ(*back, reply);
  }
}

TEST(Operation, AProbeReplyAlwaysFitsAFrame) {
  ProbeReply reply;
  for (std::size_t i = 0; i < kProbes; ++i) {
    reply.results.push_back(
        {.name = "n", .ok = true, .evidence = std::string(kEvidenceBytes, 'e')});
  }
  const std::string json = serialise(Reply(reply));
  EXPECT_LE(json.size(), kFrameBytes);
  const auto back = parse_reply(json);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(std::get<ProbeReply>(*back).results.size(), 15U);
}

TEST(Operation, AnExecThatCannotTravelIsRefusedWhereItIsMade) {
  EXPECT_EQ(serialise(Request(ExecRequest{.argv = {"cat", "\xff"}})).error().message,
            "request: not valid JSON (syntax error)");
  ExecRequest large{.argv = {"cat"}};
  for (int i = 0; i < 3; ++i) large.argv.emplace_back(30'000, 'x');
  EXPECT_EQ(serialise(Request(large)).error().message, "request: longer than 65536 bytes");
  EXPECT_EQ(serialise(Request(ExecRequest{.argv = {}})).error().message,
            "request \"exec\": \"argv\" names no program");
}

TEST(Operation, RequestsAreTypedBoundedAndKnown) {
  const auto exec = [](std::string_view rest) {
    return request_refusal(R"({"v":1,"op":"exec",)" + std::string(rest) + "}");
  };
  EXPECT_EQ(exec(R"("argv":["a"],"env":[],"cwd":"/","uid":0,"gid":0)"), "accepted");
  EXPECT_EQ(exec(R"("argv":["a"],"env":[],"cwd":"x","uid":0,"gid":0)"),
            "request \"exec\": \"cwd\" is not an absolute path");
  EXPECT_EQ(exec(R"("argv":["a"],"env":["=x"],"cwd":"/","uid":0,"gid":0)"),
            "request \"exec\": \"env\" holds an entry that is not NAME=value");
  EXPECT_EQ(exec(R"("argv":["a\u0000b"],"env":[],"cwd":"/","uid":0,"gid":0)"),
            "request \"exec\": \"argv\" holds a NUL byte");
  EXPECT_EQ(exec(R"("argv":["a"],"env":[],"cwd":"/","uid":4294967295,"gid":0)"),
            "request \"exec\": \"uid\" is more than 4294967294");
  EXPECT_EQ(exec(R"("argv":["a"],"env":[],"cwd":"/","uid":0,"gid":0,"tty":true)"),
            "request \"exec\": unknown key \"tty\"");
  EXPECT_EQ(
      exec(R"("argv":["a"],"env":[],"cwd":"/","uid":0,"gid":0,"terminal":{"rows":0,"columns":80})"),
      "exec's terminal: \"rows\" or \"columns\" is 0");
  const auto write = [](std::string_view path, std::string_view name) {
    return request_refusal(R"({"v":1,"op":"write-files","path":")" + std::string(path) +
                           R"(","name":")" + std::string(name) + R"("})");
  };
  EXPECT_EQ(write("/tmp", "a.txt"), "accepted");
  EXPECT_EQ(write("tmp", "a"), "request \"write-files\": \"path\" is not an absolute path");
  for (const char* name : {"", ".", "..", "a/b"}) {
    EXPECT_EQ(write("/tmp", name),
              "request \"write-files\": \"name\" is not one component of a path");
  }
  EXPECT_EQ(request_refusal(R"({"v":1,"op":"dial","port":80})"), "accepted");
  EXPECT_EQ(request_refusal(R"({"v":1,"op":"dial","port":0})"), "request \"dial\": \"port\" is 0");
  EXPECT_EQ(request_refusal(R"({"v":1,"op":"format"})"), "request: unknown op \"format\"");
  EXPECT_EQ(request_refusal(R"({"v":1})"), "request: \"op\" is missing");
  EXPECT_EQ(request_refusal(R"({"v":3,"op":"status"})"),
            "request: version 3 is newer than version 1, the newest that this program speaks");
  EXPECT_EQ(request_refusal(R"({"v":1,"op":"probe","probes":[{"probe":"magic"}]})"),
            "unknown probe \"magic\"");
  EXPECT_EQ(request_refusal(R"({"v":1,"op":"probe","probes":[{"address":"a"}]})"),
            "probe: \"probe\" is missing");
  EXPECT_EQ(
      request_refusal(R"({"v":1,"op":"probe","probes":[{"probe":"connect","address":"1.2.3.4",)"
                      R"("port":65536,"timeout_ms":1}]})"),
      "probe: \"port\" is more than 65535");
  EXPECT_EQ(request_refusal(R"({"v":1,"op":"probe","probes":[{"probe":"vsock","cids":[2],)"
                            R"("ports":["x"],"timeout_ms":1}]})"),
            "probe: \"ports\" holds something that is not a whole number");
}

TEST(Operation, RepliesAreReadAsHostile) {
  EXPECT_EQ(reply_refusal(R"({"v":1,"op":"exec","exit":0})"), "accepted");
  EXPECT_EQ(reply_refusal(R"({"v":1,"op":"exec"})"),
            "reply \"exec\": \"exit\" and \"signal\": exactly one is needed");
  EXPECT_EQ(reply_refusal(R"({"v":1,"op":"exec","exit":0,"signal":9})"),
            "reply \"exec\": \"exit\" and \"signal\": exactly one is needed");
  EXPECT_EQ(reply_refusal(R"({"v":1,"op":"exec","exit":256})"),
            "reply \"exec\": \"exit\" is more than 255");
  EXPECT_EQ(reply_refusal(R"({"v":1,"op":"probe","results":[{"name":"a","ok":true,"evidence":")" +
                          std::string(kEvidenceBytes + 1, 'x') + R"(","ms":1}]})"),
            "probe result: \"evidence\" is longer than 4096 bytes");
  EXPECT_EQ(
      reply_refusal(R"({"v":1,"op":"probe","results":[{"name":"a","ok":true,"evidence":"","ms":1,)"
                    R"("fetch":{"status":1000,"bytes":1,"sha256":"a","code":"","rule":""}}]})"),
      "fetch outcome: \"status\" is more than 999");
  EXPECT_EQ(reply_refusal(R"({"v":1,"op":"error","code":"a b","message":""})"),
            "reply \"error\": \"code\" is not made of letters, digits, '.', '_' and '-'");
  EXPECT_EQ(reply_refusal(std::string(kFrameBytes + 1, ' ')), "reply: longer than 65536 bytes");
}

TEST(Operation, EachRequestHasItsReply) {
  EXPECT_TRUE(answers(FilesReply{}, ReadFilesRequest{.path = "/a"}));
  EXPECT_TRUE(answers(FilesReply{}, WriteFilesRequest{.path = "/a", .name = "b"}));
  EXPECT_TRUE(answers(ErrorReply{}, DialRequest{.port = 1}));
  EXPECT_FALSE(answers(DialReply{}, WriteFilesRequest{.path = "/a", .name = "b"}));
  EXPECT_FALSE(answers(ShutdownReply{}, ExecRequest{.argv = {"a"}}));
}

TEST(Operation, ProbesAreNamedForPeople) {
  EXPECT_EQ(probe_name(ConnectProbe{.address = "93.184.216.34", .port = 80}),
            "connect 93.184.216.34:80");
  EXPECT_EQ(probe_name(UdpProbe{.address = "::1", .port = 53}), "udp [::1]:53");
  EXPECT_EQ(probe_name(FetchProbe{.task = {.url = "http://a/", .method = "GET"}}),
            "fetch GET http://a/");
}

}  // namespace
}  // namespace pinhole::wire
