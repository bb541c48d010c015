// SPDX-License-Identifier: Apache-2.0
#include "pep/seal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include <gtest/gtest.h>

namespace pinhole::pep {
namespace {

std::string sealed(const std::function<int()>& act, bool unlinks_door = false) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!seal(unlinks_door)) ::_exit(99);
    ::_exit(act());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return std::string("SIG") + ::sigabbrev_np(WTERMSIG(status));
  return "exited " + std::to_string(WEXITSTATUS(status));
}

int worked(int result) { return result >= 0 ? 7 : 1; }

TEST(PepSeal, LeavesConnectionsOfTheInternetAndReading) {
  EXPECT_EQ(sealed([] {
              int pair[2];
              return worked(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
            }),
            "exited 7");
  EXPECT_EQ(sealed([] { return worked(::socket(AF_INET, SOCK_STREAM, 0)); }), "exited 7");
  EXPECT_EQ(sealed([] { return worked(::socket(AF_INET6, SOCK_DGRAM, 0)); }), "exited 7");
  EXPECT_EQ(sealed([] { return worked(::open("/etc/hosts", O_RDONLY)); }), "exited 7");
  EXPECT_EQ(sealed([] { return ::unlink("/nowhere/door") != 0 ? 7 : 1; }, true), "exited 7");
}

TEST(PepSeal, TakesUnixSocketsWritingProgramsAndProcesses) {
  EXPECT_EQ(sealed([] { return worked(::socket(AF_UNIX, SOCK_STREAM, 0)); }), "SIGSYS");
  EXPECT_EQ(sealed([] {
              int pair[2];
              return worked(::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
            }),
            "SIGSYS");
  EXPECT_EQ(sealed([] { return worked(::socket(AF_NETLINK, SOCK_RAW, 0)); }), "SIGSYS");
  EXPECT_EQ(sealed([] { return worked(::execl("/bin/true", "true", nullptr)); }), "SIGSYS");
  EXPECT_EQ(sealed([] { return worked(::fork()); }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::unlink("/nowhere/door") != 0 ? 7 : 1; }), "SIGSYS");
#if !__has_feature(address_sanitizer)  // its runtime opens what it likes
  EXPECT_EQ(sealed([] { return worked(::open("/tmp/x", O_WRONLY | O_CREAT, 0600)); }), "SIGSYS");
#endif
}

}  // namespace
}  // namespace pinhole::pep
