// SPDX-License-Identifier: Apache-2.0
#include "sys/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "sys/files.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::sys {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

Command shell(std::string script) {
  return {.program = "/bin/sh", .args = {"-c", std::move(script)}};
}

std::string out_of(Command command) {
  auto output = run(std::move(command), {});
  if (!output) return "error: " + output.error().message;
  EXPECT_TRUE(output->status.ok()) << output->status.text() << output->err;
  return std::string(trim(output->out));
}

TEST(Spawn, GivesTheChildOnlyWhatItsCommandLists) {
  ::setenv("PINHOLE_TEST_LEAK", "leaked", 1);
  const Fd leaked(::open("/dev/null", O_RDONLY));  // deliberately not CLOEXEC
  Command command =
      shell("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= ; ls /proc/self/fd | wc -l; pwd");
  command.environment = {{"ONLY", "this"}};
  EXPECT_EQ(out_of(command), "ONLY=this\n4\n/");  // 0, 1, 2 and the folder that ls reads
}

TEST(Spawn, PlacesDescriptorsByNumber) {
  auto pipe = make_pipe().value();
  Command command = shell("echo through-five >&5");
  command.descriptors = {{5, pipe.second.get()}};
  EXPECT_TRUE(run(command, {})->status.ok());
  char text[32] = {};
  EXPECT_EQ(::read(pipe.first.get(), text, sizeof(text)), 13);
  EXPECT_STREQ(text, "through-five\n");
}

TEST(Spawn, NamesTheStepThatFailed) {
  const auto missing = spawn({.program = "/nowhere/program"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message,
            "cannot start /nowhere/program: executing it: No such file or directory");
  Command bad_dir = shell("true");
  bad_dir.working_dir = "/nowhere";
  EXPECT_EQ(spawn(bad_dir).error().message,
            "cannot start /bin/sh: entering its working folder: No such file or directory");
}

TEST(Spawn, ChildDiesWithItsParent) {
  auto pipe = make_pipe().value();
  const pid_t parent = ::fork();
  if (parent == 0) {
    Command command = shell("echo up >&3; exec sleep 1000");
    command.descriptors = {{3, pipe.second.get()}};
    auto child = spawn(command);
    ::pause();
  }
  pipe.second.reset();
  char text[8] = {};
  ASSERT_EQ(::read(pipe.first.get(), text, sizeof(text)), 3);
  ::kill(parent, SIGKILL);
  EXPECT_EQ(::read(pipe.first.get(), text, sizeof(text)),
            0);  // the child's end is closed: it is gone
}

TEST(Spawn, NetworkNamespaceHoldsOnlyLoopback) {
  Command command = shell(
      "cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/self/status | grep NoNewPrivs");
  EXPECT_THAT(out_of(command), HasSubstr("NoNewPrivs:\t1"));
  command.isolation = {.user = true, .network = true, .ipc = true};
  EXPECT_EQ(out_of(command), "lo\nNoNewPrivs:\t1");
  command.args[1] = "id -u";
  EXPECT_EQ(out_of(command), std::to_string(::getuid()));
}

TEST(Spawn, RefusesSetuidFilesButAllowsOrdinaryOnes) {
  const auto folder = TempDir::make().value();
  Command command = shell(
      "touch f && chmod 755 f && stat -c %a f; chmod 4755 f; chmod 2755 f; stat -c %a f; mkfifo p "
      "&& echo fifo");
  command.working_dir = folder.path();
  command.filter = SpawnFilter::file_server;
  EXPECT_EQ(out_of(command), "755\n755\nfifo");
}

TEST(Run, CollectsOutputAndStatus) {
  auto output = run(shell("cat; echo err >&2; exit 3"), {.input = "given"}).value();
  EXPECT_EQ(output.out, "given");
  EXPECT_EQ(output.err, "err\n");
  EXPECT_EQ(output.status.text(), "exited with status 3");
}

TEST(Run, KillsWhatPassesItsDeadline) {
  const auto output = run(shell("exec sleep 1000"), {.time = milliseconds(50)});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().message, "sh did not end within 0 s");
}

TEST(Run, CutsOutputAtTheLimit) {
  EXPECT_EQ(run(shell("head -c 100000 /dev/zero"), {.bytes = 1000})->out.size(), 1000U);
}

TEST(Stop, IsPoliteThenFirm) {
  auto pipe = make_pipe().value();
  Command polite = shell("trap 'exit 7' TERM; echo >&3; while :; do sleep 0.01; done");
  polite.descriptors = {{3, pipe.second.get()}};
  char byte = 0;
  auto process = spawn(polite).value();
  ASSERT_EQ(::read(pipe.first.get(), &byte, 1), 1);
  EXPECT_EQ(process.stop(std::chrono::seconds(10)).text(), "exited with status 7");

  Command stubborn = shell("trap '' TERM; echo >&3; while :; do sleep 0.01; done");
  stubborn.descriptors = {{3, pipe.second.get()}};
  process = spawn(stubborn).value();
  ASSERT_EQ(::read(pipe.first.get(), &byte, 1), 1);
  EXPECT_EQ(process.stop(milliseconds(20)).text(), "was killed by SIGKILL");
}

TEST(Spawn, LeavesNoDescriptorBehind) {
  const auto count = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = count();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(run(shell("true"), {}));
  EXPECT_EQ(count(), before);
}

}  // namespace
}  // namespace pinhole::sys
