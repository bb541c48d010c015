// SPDX-License-Identifier: Apache-2.0
// pinhole-vsockd as a program: its words, its end, its files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "sys/unix_socket.h"
#include "vhost/testing/fake_guest.h"
#include "vhost/testing/host_programs.h"

namespace pinhole::vhost::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

sys::Output run_with(std::vector<std::string> args) {
  sys::Command command{.program = PINHOLE_VSOCKD};
  command.args = std::move(args);
  return sys::run(command, {.time = seconds(10)}).value();
}

class VsockdProgram : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = sys::TempDir::make().value(); }
  [[nodiscard]] const fs::path& path() const { return folder_->path(); }
  std::optional<sys::TempDir> folder_;
};

TEST_F(VsockdProgram, EndsWithStatusZeroOnBothSignalsAndTakesItsSocketsAway) {
  for (const int number : {SIGTERM, SIGINT}) {
    sys::Process program = start_program(path(), "440").value();
    auto guest = connect_guest(path()).value();
    EXPECT_TRUE(fs::exists(path() / "qemu"));
    EXPECT_TRUE(fs::exists(path() / "vm"));
    program.signal(number);
    const auto status = program.wait_for(seconds(10));
    ASSERT_TRUE(status);
    EXPECT_EQ(status->text(), "exited with status 0");
    EXPECT_TRUE(fs::is_empty(path()));
  }
}

TEST_F(VsockdProgram, OnceEndsWithItsFrontEnd) {
  sys::Process program = start_program(path(), "440", {"--once"}).value();
  auto guest = connect_guest(path()).value();
  ASSERT_TRUE(guest->start_driver());
  EXPECT_FALSE(program.poll());
  guest.reset();
  const auto status = program.wait_for(seconds(10));
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->ok()) << status->text();
}

TEST_F(VsockdProgram, TakesItsSocketsFromItsParent) {
  auto [ours, theirs] = sys::socket_pair().value();
  const Fd base = sys::listen_unix(path() / "vm").value();
  sys::Command command{.program = PINHOLE_VSOCKD};
  command.args = {"--socket-fd", "3",  "--base-fd", "4", "--base", (path() / "vm").string(),
                  "--ports",     "440"};
  command.descriptors = {{2, 2}, {3, theirs.get()}, {4, base.get()}};
  sys::Process program = sys::spawn(command).value();
  theirs.reset();
  auto guest = FakeGuest::over(std::move(ours)).value();
  ASSERT_TRUE(guest->start_driver());
  std::string answer;
  std::thread host([&] { answer = dial(path(), 7).answer; });
  ASSERT_TRUE(guest->run_until([&] { return guest->accepted.size() == 1; }));
  host.join();
  EXPECT_TRUE(answer.starts_with("OK ")) << answer;
  guest.reset();
  const auto status = program.wait_for(seconds(10));
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->ok()) << status->text();
  EXPECT_TRUE(fs::exists(path() / "vm"));  // not its own
}

TEST_F(VsockdProgram, SocketInUseIsAnErrorAndStaysInUse) {
  const Fd listener = sys::listen_unix(path() / "qemu").value();
  const auto output = run_with({"--socket", (path() / "qemu").string(), "--base",
                                (path() / "vm").string(), "--ports", "440"});
  EXPECT_EQ(output.status.value, 1);
  EXPECT_EQ(output.err, "pinhole-vsockd: cannot listen on " + (path() / "qemu").string() +
                            ": it is already in use\n");
  EXPECT_FALSE(fs::exists(path() / "vm"));
  EXPECT_TRUE(fs::exists(path() / "qemu"));
}

TEST_F(VsockdProgram, WrongWordsEndWithStatusTwo) {
  const auto output = run_with({"--sockets", "x"});
  EXPECT_EQ(output.status.value, 2);
  EXPECT_EQ(output.err,
            "pinhole-vsockd: unknown option \"--sockets\"; did you mean --socket?\n"
            "  fix:  pinhole-vsockd --help\n");
}

TEST_F(VsockdProgram, HelpGoesToStandardOutput) {
  const auto output = run_with({"--help"});
  EXPECT_EQ(output.status.value, 0);
  EXPECT_TRUE(output.out.starts_with("usage: pinhole-vsockd")) << output.out;
}

}  // namespace
}  // namespace pinhole::vhost::testing
