// SPDX-License-Identifier: Apache-2.0
// pinhole-vsockd as a program: its words, its end, its files.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
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

TEST_F(VsockdProgram, EndsWithStatusZeroOnBothSignalsAndLeavesSocketsForTheNextToReplace) {
  for (const int number : {SIGTERM, SIGINT}) {
    sys::Process program = start_program(path(), "440").value();
    auto guest = connect_guest(path()).value();
    EXPECT_TRUE(fs::exists(path() / "qemu"));
    EXPECT_TRUE(fs::exists(path() / "vm"));
    program.signal(number);
    const auto status = program.wait_for(seconds(10));
    ASSERT_TRUE(status);
    EXPECT_EQ(status->text(), "exited with status 0");
    EXPECT_TRUE(fs::is_socket(path() / "qemu") && fs::is_socket(path() / "vm"));
  }
}

TEST_F(VsockdProgram, IsSealedBeforeItServes) {
  sys::Process program = start_program(path(), "440").value();
  auto guest = connect_guest(path()).value();
  std::ifstream status(fmt::format("/proc/{}/status", program.pid()));
  const std::string text{std::istreambuf_iterator<char>(status), {}};
  EXPECT_THAT(text, ::testing::HasSubstr("\nSeccomp:\t2\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\nNoNewPrivs:\t1\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\nThreads:\t1\n"));
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

/// A vsockd between a guest and a supervisor that hold the other ends.
struct Supervised {
  Fd control;
  std::unique_ptr<FakeGuest> guest;
  std::optional<sys::Process> program;
};

Supervised start_supervised(const fs::path& folder) {
  auto [vhost, its_vhost] = sys::socket_pair().value();
  auto [control, its_control] = sys::socket_pair().value();
  sys::Command command{.program = PINHOLE_VSOCKD};
  command.args = {"--vhost-fd", "3",  "--control-fd", "4", "--base", (folder / "vm").string(),
                  "--ports",    "440"};
  command.descriptors = {{2, 2}, {3, its_vhost.get()}, {4, its_control.get()}};
  sys::Process program = sys::spawn(command).value();
  its_vhost.reset();
  its_control.reset();
  auto guest = FakeGuest::over(std::move(vhost)).value();
  EXPECT_TRUE(guest->start_driver());
  return {std::move(control), std::move(guest), std::move(program)};
}

/// One question and its answer, within `limit`; empty when none comes.
std::string ask_stats(const Fd& control, std::chrono::milliseconds limit = seconds(10)) {
  if (::send(control.get(), "stats\n", 6, MSG_NOSIGNAL) != 6) return "";
  pollfd waiting{.fd = control.get(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(limit.count())) != 1) return "";
  std::string text(1024, '\0');
  const ssize_t count = ::recv(control.get(), text.data(), text.size(), 0);
  text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  return text;
}

TEST_F(VsockdProgram, EndsWithStatusZeroWhenQemuOrTheSupervisorIsGone) {
  for (const bool qemu_first : {true, false}) {
    Supervised vm = start_supervised(path());
    EXPECT_NE(ask_stats(vm.control), "");
    EXPECT_FALSE(vm.program->poll());
    if (qemu_first) {
      vm.guest.reset();
    } else {
      vm.control.reset();
    }
    const auto status = vm.program->wait_for(seconds(10));
    ASSERT_TRUE(status);
    EXPECT_EQ(status->text(), "exited with status 0");
  }
}

TEST_F(VsockdProgram, SaysHowItStands) {
  const Fd listener = listen_port(path(), 440).value();
  Supervised vm = start_supervised(path());
  ASSERT_TRUE(vm.guest->connect_stream(440));
  EXPECT_FALSE(vm.guest->connect_stream(441));
  EXPECT_EQ(ask_stats(vm.control),
            "{\"connections\":1,\"half_open\":0,\"buffered_bytes\":0,\"opened\":1,\"reset\":1,"
            "\"limited\":0}\n");
}

TEST_F(VsockdProgram, BusyGuestDoesNotKeepTheSupervisorWaiting) {
  Supervised vm = start_supervised(path());
  // Work without end in every turn: packets of no connection, each answered.
  std::uint32_t port = 1;
  const auto flood = [&] {
    const vsock::PacketHeader stray{.src_cid = 3,
                                    .dst_cid = 2,
                                    .src_port = port++,
                                    .dst_port = 9,
                                    .op = static_cast<std::uint16_t>(vsock::Op::rw)};
    while (vm.guest->try_send(stray)) {
    }
    return false;
  };
  std::atomic<bool> over = false;
  std::thread guest([&] {
    while (!over) (void)vm.guest->run_until(flood, std::chrono::milliseconds(20));
  });
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(ask_stats(vm.control, seconds(2)).ends_with("}\n")) << i;
  }
  over = true;
  guest.join();
}

TEST_F(VsockdProgram, StoppedOneDoesNotAnswerUntilItGoesOn) {
  Supervised vm = start_supervised(path());
  EXPECT_NE(ask_stats(vm.control), "");
  vm.program->signal(SIGSTOP);
  EXPECT_EQ(ask_stats(vm.control, std::chrono::milliseconds(200)), "");
  vm.program->signal(SIGCONT);
  pollfd waiting{.fd = vm.control.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 10'000), 1);
}

TEST_F(VsockdProgram, FreshOneTakesOverWhatAKilledOneLeft) {
  for (int round = 0; round < 3; ++round) {
    Supervised vm = start_supervised(path());
    std::string answer;
    std::thread host([&] { answer = dial(path(), 7).answer; });
    ASSERT_TRUE(vm.guest->run_until([&] { return vm.guest->accepted.size() == 1; }));
    host.join();
    EXPECT_TRUE(answer.starts_with("OK ")) << answer;
    vm.program->signal(SIGKILL);
    ASSERT_TRUE(vm.program->wait_for(seconds(10)));
    EXPECT_TRUE(fs::exists(path() / "vm"));
  }
}

TEST_F(VsockdProgram, InheritedDescriptorOfTheWrongKindIsAnError) {
  const Fd listener = sys::listen_unix(path() / "listener").value();
  sys::Command command{.program = PINHOLE_VSOCKD};
  command.args = {"--vhost-fd", "3", "--base", (path() / "vm").string(), "--ports", "440"};
  command.descriptors = {{3, listener.get()}};
  const auto output = sys::run(command, {.time = seconds(10)}).value();
  EXPECT_EQ(output.status.value, 1);
  EXPECT_EQ(output.err,
            "pinhole-vsockd: --vhost-fd 3: it listens, where a connected socket is wanted\n");
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
