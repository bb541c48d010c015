// SPDX-License-Identifier: Apache-2.0
#include "vhost/options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinhole::vhost {
namespace {

using Args = std::vector<std::string_view>;

std::string error(const Args& args) {
  const auto options = parse_options(args);
  if (options) return "";
  EXPECT_EQ(options.error().exit_status, 2);
  return options.error().message;
}
Args with(const Args& more) {
  Args args{"--socket", "q", "--base", "run/vm", "--ports", "440"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(VsockdOptions, PortsLeadToTheBaseOrToAPathOfTheirOwn) {
  const Args args{"--socket=q", "--base", "run/vm", "--ports", "440,442", "--ports", "7=/other"};
  const Options options = parse_options(args).value();
  EXPECT_EQ(options.ports, (PortPaths{{7, "/other"}, {440, "run/vm_440"}, {442, "run/vm_442"}}));
  EXPECT_EQ(options.cid, 3U);
  EXPECT_FALSE(options.once);
}

TEST(VsockdOptions, BadPortListsSayWhatIsWrong) {
  const auto ports = [](std::string_view list) {
    return error({"--socket", "q", "--base", "b", "--ports", list});
  };
  EXPECT_EQ(ports("440,"), "--ports: \"\" is not a port from 1 to 4294967294");
  EXPECT_EQ(ports("0"), "--ports: \"0\" is not a port from 1 to 4294967294");
  EXPECT_EQ(ports("4294967295"), "--ports: \"4294967295\" is not a port from 1 to 4294967294");
  EXPECT_EQ(ports("440 "), "--ports: \"440 \" is not a port from 1 to 4294967294");
  EXPECT_EQ(ports("440,440"), "--ports: port 440 is listed twice");
  EXPECT_EQ(ports("440="), "--ports 440: the path is empty");
  EXPECT_EQ(ports("4294967294"), "");
}

TEST(VsockdOptions, PathsThatDoNotFitASocketAreRefusedBeforeAnythingStarts) {
  const std::string fits(107, 'a');
  const std::string too_long(108, 'a');
  EXPECT_EQ(error({"--socket", fits, "--base", "b", "--ports", "1"}), "");
  EXPECT_EQ(error({"--socket", too_long, "--base", "b", "--ports", "1"}),
            "--socket: the path " + too_long + " has 108 bytes; a socket's path has at most 107");
  EXPECT_EQ(
      error({"--socket", "q", "--base", fits, "--ports", "440"}),
      "--ports 440: the path " + fits + "_440 has 111 bytes; a socket's path has at most 107");
}

TEST(VsockdOptions, CidIsAGuests) {
  EXPECT_EQ(error(with({"--cid", "3"})), "");
  for (const std::string_view cid : {"2", "x", "", "4294967295", "-3"}) {
    EXPECT_EQ(error(with({"--cid", cid})),
              fmt::format("--cid: \"{}\" is not a number from 3 to 4294967294", cid));
  }
}

TEST(VsockdOptions, WhatIsMissingIsNamed) {
  EXPECT_EQ(error({"--base", "b", "--ports", "1"}),
            "give one of --socket PATH, --socket-fd N and --vhost-fd N: where QEMU connects");
  EXPECT_EQ(error(with({"--socket-fd", "3"})),
            "give one of --socket PATH, --socket-fd N and --vhost-fd N: where QEMU connects");
  EXPECT_EQ(error({"--socket", "q", "--ports", "1"}),
            "--base PATH is missing: the stem of the sockets' paths");
  EXPECT_EQ(error({"--socket", "q", "--base", "b"}),
            "--ports is missing: the ports that the guest may reach");
  EXPECT_EQ(error(with({"--cid"})), "--cid needs a value");
  EXPECT_EQ(error(with({"--socket-fd", "1"})),
            "--socket-fd: \"1\" is not a descriptor number from 3 up");
}

TEST(VsockdOptions, InheritedDescriptorsAreEachForOneThing) {
  const auto parse = [](std::initializer_list<std::string_view> args) {
    return parse_options(std::vector<std::string_view>(args));
  };
  const auto options =
      parse({"--vhost-fd", "3", "--control-fd=4", "--base-fd", "5", "--base", "b", "--ports", "1"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->vhost_fd, 3);
  EXPECT_EQ(options->control_fd, 4);
  EXPECT_EQ(options->base_fd, 5);
  EXPECT_EQ(error({"--vhost-fd", "3", "--control-fd", "3", "--base", "b", "--ports", "1"}),
            "descriptor 3 is given for two things");
  EXPECT_EQ(error({"--vhost-fd", "3", "--socket-fd", "4", "--base", "b", "--ports", "1"}),
            "give one of --socket PATH, --socket-fd N and --vhost-fd N: where QEMU connects");
}

TEST(VsockdOptions, UnknownOptionsGetASuggestion) {
  EXPECT_EQ(error(with({"--port", "1"})), "unknown option \"--port\"; did you mean --ports?");
  EXPECT_EQ(error(with({"frobnicate"})), "unknown option \"frobnicate\"");
}

}  // namespace
}  // namespace pinhole::vhost
