// SPDX-License-Identifier: Apache-2.0
// The operation `exec` beyond its streams: terminals, limits, the user's surroundings, and the end
// of all that it started.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>

#include "agent/environment.h"
#include "agent/test_operations.h"
#include "base/strings.h"
#include "sys/cgroup.h"
#include "sys/session_child.h"

namespace pinhole::agent {
namespace {

struct ExecTest : OperationsTest {
  using OperationsTest::OperationsTest;
  static wire::ExecRequest on_terminal(const std::string& script) {
    wire::ExecRequest request = sh(script);
    request.terminal = wire::WindowSize{.rows = 30, .columns = 100};
    return request;
  }
  std::string output_of(const wire::ExecRequest& request) {
    Peer peer = ask(request);
    return finish(peer).streams[FrameType::stdout_data];
  }
  /// The pipe's writing ends belong to what `request` runs: end of file means that all are gone.
  [[nodiscard]] bool all_end(wire::ExecRequest request) {
    const auto fifo = dir.path() / "fifo";
    if (::mkfifo(fifo.c_str(), 0600) != 0) return false;
    request.env.push_back("FIFO=" + fifo.string());
    Peer peer = ask(request);
    const Fd reader(::open(fifo.c_str(), O_RDONLY | O_CLOEXEC));
    wire::FrameReader frames;
    if (read_until(peer, frames, "started").ends_with(')')) return false;
    peer.close();
    pollfd waited{.fd = reader.get(), .events = POLLIN, .revents = 0};
    return ::poll(&waited, 1, kPatienceMs) == 1 && (waited.revents & POLLHUP) != 0;
  }
  void write_etc(const std::string& name, std::string_view content) {
    std::filesystem::create_directories(settings->root / "etc");
    ASSERT_TRUE(sys::write_file_atomic(settings->root / "etc" / name, content));
  }
};
/// As on a host where the agent may not make cgroups.
struct ExecWithoutCgroupsTest : ExecTest {
  static Settings without() {
    Settings settings;
    settings.cgroups = false;
    return settings;
  }
  ExecWithoutCgroupsTest() : ExecTest(without()) {}
};

TEST_F(ExecTest, ATerminalIsTheProgramsOwnForAllItsStreams) {
  Peer peer =
      ask(on_terminal("stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo all; "
                      "echo err >&2; echo to-tty > /dev/tty; exit 7"));
  const Outcome outcome = finish(peer);
  const std::string& out = outcome.streams.at(FrameType::stdout_data);
  EXPECT_TRUE(out.starts_with("30 100\r\n/dev/pts/")) << out;
  EXPECT_TRUE(out.ends_with("all\r\nerr\r\nto-tty\r\n")) << out;
  EXPECT_FALSE(outcome.streams.contains(FrameType::stderr_data));
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 7}));
}

TEST_F(ExecTest, ATerminalEchoesAndEndsAtItsEndOfFile) {
  Peer peer = ask(on_terminal("cat; echo over"));
  peer.send(wire::encode_frame(FrameType::stdin_data, "hello\nhalf"));
  peer.send(wire::encode_frame(FrameType::stdin_eof, ""));
  const Outcome outcome = finish(peer);
  const std::string& out = outcome.streams.at(FrameType::stdout_data);
  EXPECT_NE(out.find("hello\r\n"), std::string::npos) << out;
  EXPECT_TRUE(out.ends_with("half") || out.ends_with("over\r\n")) << out;
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 0}));
}

TEST_F(ExecTest, AResizeReachesTheProgram) {
  Peer peer =
      ask(on_terminal("trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.02; done"));
  wire::FrameReader frames;
  EXPECT_EQ(read_until(peer, frames, "ready\r\n"), "ready\r\n");
  peer.send(wire::encode_resize({.rows = 51, .columns = 211}));
  const Outcome outcome = finish(peer, true, std::move(frames));
  EXPECT_EQ(outcome.streams.at(FrameType::stdout_data), "51 211\r\n");
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 5}));
}

TEST_F(ExecTest, AResizeWithoutATerminalEndsTheOperation) {
  Peer peer = ask(sh("exec sleep 1000"));
  peer.send(wire::encode_resize({.rows = 51, .columns = 211}));
  EXPECT_FALSE(finish(peer).reply.has_value());
}

TEST_F(ExecTest, ControlCInterruptsTheForeground) {
  Peer peer = ask(on_terminal(
      "trap 'echo caught' INT; sh -c 'echo ready; exec sleep 1000'; echo after; exit 3"));
  wire::FrameReader frames;
  read_until(peer, frames, "ready\r\n");
  peer.send(wire::encode_frame(FrameType::stdin_data, "\x03"));
  const Outcome outcome = finish(peer, true, std::move(frames));
  EXPECT_EQ(outcome.streams.at(FrameType::stdout_data), "^Ccaught\r\nafter\r\n");
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 3}));
}

TEST_F(ExecTest, AnInteractiveShellRunsJobsAndExits) {
  wire::ExecRequest request = on_terminal("");
  request.argv = {"bash", "--norc", "-i"};
  request.env = {"PS1=> ", "HISTFILE=", "TERM=dumb", "PATH=/usr/bin:/bin"};
  Peer peer = ask(request);
  wire::FrameReader frames;
  std::string seen = read_until(peer, frames, "> ");
  // A job may run before its shell has given it the terminal.
  peer.send(wire::encode_frame(FrameType::stdin_data,
                               "sh -c 'until test $(ps -o tpgid= $$) = $$; do :; done; "
                               "echo runs-$((1+1)); exec sleep 1000'\n"));
  seen += read_until(peer, frames, "runs-2");
  // The job has a group of its own; a signal frame reaches it too.
  peer.send(wire::encode_signal(SIGINT));
  seen += read_until(peer, frames, "> ");
  peer.send(wire::encode_frame(FrameType::stdin_data, "exit 4\n"));
  EXPECT_EQ(finish(peer, true, std::move(frames)).reply, wire::Reply(wire::ExecReply{.exit = 4}))
      << seen;
}

TEST_F(ExecTest, ATerminalBelongsToItsUser) {
  if (::getuid() != 0) GTEST_SKIP() << "only root may change users";
  wire::ExecRequest request = on_terminal("stat -c %u:%a $(tty); echo open > /dev/tty");
  request.uid = request.gid = 65534;
  EXPECT_EQ(output_of(request), "65534:620\r\nopen\r\n");
}

TEST_F(ExecTest, MuchOutputOfATerminalArrivesWhole) {
  EXPECT_EQ(output_of(on_terminal("stty -opost; seq 200000")).size(), 1288895U);
}

TEST_F(ExecTest, BackgroundJobsEndWithTheHost) {
  EXPECT_TRUE(
      all_end(on_terminal("set -m; exec 9>$FIFO; sleep 1000 & nohup sleep 1000 & "
                          "trap '' HUP; echo started; sleep 1000")));
}

TEST_F(ExecTest, EvenSessionsOfTheirOwnEndWithTheHost) {
  if (!sys::Cgroups::find()) GTEST_SKIP() << "no cgroups may be made here";
  EXPECT_TRUE(all_end(sh("exec 9>$FIFO; setsid sleep 1000 & echo started; sleep 1000")));
}

TEST_F(ExecWithoutCgroupsTest, BackgroundJobsEndWithTheHost) {
  EXPECT_TRUE(
      all_end(on_terminal("set -m; exec 9>$FIFO; sleep 1000 & nohup sleep 1000 & "
                          "trap '' HUP; echo started; sleep 1000")));
}

TEST_F(ExecTest, LimitsHoldAndUnknownOnesAreRefused) {
  wire::ExecRequest request = sh("ulimit -n; ulimit -c; ulimit -f");
  request.limits = {{.name = "nofile", .value = 200},
                    {.name = "core", .value = 0},
                    {.name = "fsize", .value = 1024}};
  EXPECT_EQ(output_of(request), "200\n0\n2\n");
  request.limits = {{.name = "sigpendings", .value = 1}};
  Peer unknown = ask(request);
  EXPECT_EQ(finish(unknown).reply,
            wire::Reply(wire::ErrorReply{.code = "bad_request",
                                         .message = "unknown limit \"sigpendings\""}));
  request.limits = {{.name = "nofile", .value = std::uint64_t{1} << 50}};
  Peer impossible = ask(request);
  EXPECT_EQ(
      finish(impossible).reply,
      wire::Reply(wire::ErrorReply{.code = "failed",
                                   .message = "cannot set the limit nofile to 1125899906842624: "
                                              "Operation not permitted"}));
}

TEST_F(ExecTest, AProgramHasTheGuestsEnvironmentAndItsUsersNames) {
  write_etc("passwd", fmt::format("x:x:1:1::/:/bin/sh\nme:x:{}:{}:Me:/home/me:/bin/zsh\n",
                                  ::getuid(), ::getgid()));
  write_etc("environment", "SSL_CERT_FILE=/etc/ssl/ca.pem\nLANG=\"C.UTF-8\"\n");
  wire::ExecRequest request = sh("echo $HOME $USER $LOGNAME $SHELL $SSL_CERT_FILE $LANG $PATH");
  request.env = {"LANG=de"};
  EXPECT_EQ(output_of(request),
            "/home/me me me /bin/zsh /etc/ssl/ca.pem de "
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
  EXPECT_EQ(output_of(sh("echo $PATH")), "/usr/bin:/bin\n");
}

TEST_F(ExecTest, AProgramHasItsUsersGroups) {
  if (::getuid() != 0) GTEST_SKIP() << "only root may change groups";
  write_etc("passwd", "me:x:4000:4000:Me:/home/me:/bin/sh\n");
  write_etc("group", "sudo:x:27:me\nother:x:28:you\nvideo:x:44:you,me\n");
  wire::ExecRequest request = sh("id -G");
  request.uid = request.gid = 4000;
  EXPECT_EQ(output_of(request), "4000 27 44\n");
  request.uid = 4001;
  EXPECT_EQ(output_of(request), "4000\n");
}

TEST(Environment, IsReadAsPamEnvDoes) {
  EXPECT_EQ(parse_environment("# comment\nA=1\n  export B='two words' # why\nC=\"x\n"
                              "bad name=1\n=2\nnothing\nD=\nE=a=b\r\n"),
            (std::vector<std::string>{"A=1", "B=two words", "C=x", "D=", "E=a=b"}));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += fmt::format("N{}=1\n", i);
  EXPECT_EQ(parse_environment(many).size(), 256U);
}

TEST(Environment, TheLaterEntryWins) {
  EXPECT_EQ(merge_environment({{"A=1", "B=2"}, {"C=3", "A=4"}}),
            (std::vector<std::string>{"A=4", "B=2", "C=3"}));
}

TEST(Environment, UsersAndGroupsAreFoundInBrokenFilesToo) {
  EXPECT_FALSE(find_user("root:x:0:0\n:x:0:0:::\nroot:x:zero:0::/:/bin/sh\n", 0));
  EXPECT_EQ(find_user("\nroot:x:0:0:r:/root:/bin/bash\n", 0)->home, "/root");
  EXPECT_EQ(find_groups("a:x:1:u\nb:x:2\nc:x:-3:u\nd:x:4:v,u\n", "u"),
            (std::vector<std::uint32_t>{1, 4}));
}

TEST(SessionOfStat, IsFoundWhateverTheProgramIsCalled) {
  EXPECT_EQ(sys::session_of_stat("12 (a) b) 1 2 3) S 1 5 7 34816 5 0"), 7);
  EXPECT_FALSE(sys::session_of_stat("12 (a) S 1 5"));
  EXPECT_FALSE(sys::session_of_stat(""));
}

}  // namespace
}  // namespace pinhole::agent
