// SPDX-License-Identifier: Apache-2.0
#include "sys/seccomp.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include <gtest/gtest.h>

namespace pinhole::sys {
namespace {

constexpr auto kUnixSockets = std::to_array<AllowedCall>({
    {"socket", ArgumentIs{.index = 0, .value = AF_UNIX}},
});

/// How a process ends that seals itself and then does `act`: "exited 7" with what it returned, or its signal.
std::string sealed(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!seal({running_calls(), event_loop_calls(), kUnixSockets})) ::_exit(99);
    ::_exit(act());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return std::string("SIG") + ::sigabbrev_np(WTERMSIG(status));
  return "exited " + std::to_string(WEXITSTATUS(status));
}

TEST(Seal, LeavesWhatIsListedAndKillsForTheRest) {
  EXPECT_EQ(sealed([] { return ::getpid() > 0 ? 7 : 1; }), "exited 7");
  EXPECT_EQ(sealed([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 7 : 1; }), "exited 7");
  EXPECT_EQ(sealed([] { return ::socket(AF_INET, SOCK_STREAM, 0); }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::fork(); }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::execl("/bin/true", "true", nullptr); }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::unlink("/nowhere"); }), "SIGSYS");
}

TEST(Seal, GivesMemoryButNoneThatCanBeExecuted) {
  const auto map = [](int protection) {
    return [protection] {
      void* memory = ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      return memory == MAP_FAILED ? 1 : 7;
    };
  };
  EXPECT_EQ(sealed(map(PROT_READ | PROT_WRITE)), "exited 7");
  EXPECT_EQ(sealed(map(PROT_READ | PROT_EXEC)), "SIGSYS");
}

TEST(Seal, CannotBeTakenOff) {
  EXPECT_EQ(sealed([] {
              constexpr auto kMore = std::to_array<AllowedCall>({{"unlink"}});
              return seal({running_calls(), kMore}) ? ::unlink("/nowhere") : 1;
            }),
            "SIGSYS");
}

std::string filtered(SpawnFilter filter, const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (load_spawn_filter(filter) != 0) ::_exit(99);
    ::_exit(act());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? "exited " + std::to_string(WEXITSTATUS(status)) : "killed";
}

TEST(SpawnFilter, DescriptorsOnlyRefusesEveryNewConnection) {
  for (const int family : {AF_INET, AF_INET6, AF_UNIX, AF_VSOCK, AF_NETLINK, AF_PACKET}) {
    const auto open_socket = [family] {
      return ::socket(family, SOCK_STREAM, 0) < 0 && errno == EPERM ? 7 : 1;
    };
    EXPECT_EQ(filtered(SpawnFilter::descriptors_only, open_socket), "exited 7") << family;
  }
  const auto threads_and_pairs = [] {
    int pair[2];
    const bool refused = ::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0 && errno == EPERM;
    return refused && ::pipe(pair) == 0 && ::fork() >= 0 ? 7 : 1;
  };
  EXPECT_EQ(filtered(SpawnFilter::descriptors_only, threads_and_pairs), "exited 7");
}

TEST(SpawnFilter, DescriptorsOnlyKeepsItsLifeTiedToItsParent) {
  const auto untie = [] { return ::prctl(PR_SET_PDEATHSIG, 0) != 0 && errno == EPERM ? 7 : 1; };
  EXPECT_EQ(filtered(SpawnFilter::descriptors_only, untie), "exited 7");
  const auto name = [] { return ::prctl(PR_SET_NAME, "worker") == 0 ? 7 : 1; };
  EXPECT_EQ(filtered(SpawnFilter::descriptors_only, name), "exited 7");
}

}  // namespace
}  // namespace pinhole::sys
