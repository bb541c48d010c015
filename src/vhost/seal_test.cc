// SPDX-License-Identifier: Apache-2.0
#include "vhost/seal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "sys/files.h"
#include "sys/memory_map.h"
#include "sys/unix_socket.h"

namespace pinhole::vhost {
namespace {

#if defined(__has_feature) && __has_feature(address_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// How a process ends that seals itself, then acts: "worked" or "failed" by what the act returned,
/// or the signal that killed it.
std::string sealed(const std::function<bool()>& act, int its_stderr = 2) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(its_stderr, 2);
    if (!seal()) ::_exit(99);
    ::_exit(act() ? 7 : 8);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return std::string("SIG") + ::sigabbrev_np(WTERMSIG(status));
  if (WEXITSTATUS(status) == 7) return "worked";
  return WEXITSTATUS(status) == 8 ? "failed" : "not sealed";
}

TEST(VsockdSeal, NoFileIsOpened) {
  const sys::TempDir folder = sys::TempDir::make().value();
  const std::string path = folder.path() / "file";
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  // One that is open is written and read, as ever.
  EXPECT_EQ(sealed([&] { return ::pwrite(file.get(), "x", 1, 0) == 1; }), "worked");
  EXPECT_EQ(sealed([&] { return ::syscall(SYS_open, path.c_str(), O_RDONLY) >= 0; }), "SIGSYS");
  EXPECT_EQ(sealed([&] { return ::unlink(path.c_str()) == 0; }), "SIGSYS");
  EXPECT_EQ(sealed([&] { return ::rename(path.c_str(), "other") == 0; }), "SIGSYS");
  // A sanitizer's report reads a file.
  if (!kSanitized) {
    EXPECT_EQ(sealed([&] { return ::open(path.c_str(), O_RDONLY) >= 0; }), "SIGSYS");
  }
}

TEST(VsockdSeal, NoSocketButUnixOnes) {
  const sys::TempDir folder = sys::TempDir::make().value();
  const Fd listener = sys::listen_unix(folder.path() / "s").value();
  EXPECT_EQ(sealed([&] {
              return sys::try_connect_unix(folder.path() / "s").outcome ==
                     sys::ConnectOutcome::connected;
            }),
            "worked");
  EXPECT_EQ(sealed([&] { return ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC) >= 0; }),
            "worked");  // the one from before
  for (const int family : {AF_INET, AF_INET6, AF_VSOCK, AF_NETLINK, AF_PACKET}) {
    EXPECT_EQ(sealed([&] { return ::socket(family, SOCK_STREAM, 0) >= 0; }), "SIGSYS") << family;
  }
  EXPECT_EQ(sealed([&] { return ::listen(listener.get(), 1) == 0; }), "SIGSYS");
}

TEST(VsockdSeal, NoProgramAndNoProcess) {
  EXPECT_EQ(sealed([] { return ::getpid() > 0; }), "worked");
  EXPECT_EQ(sealed([] { return ::execl("/bin/true", "true", nullptr) == 0; }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::fork() >= 0; }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::kill(::getppid(), 0) == 0; }), "SIGSYS");
  EXPECT_EQ(sealed([] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0; }), "SIGSYS");
}

TEST(VsockdSeal, MemoryThatQemuPassesIsMappedButNeverToExecute) {
  const Fd file = sys::make_memory_file("memory", 1 << 20).value();
  EXPECT_EQ(sealed([&] { return sys::MemoryMap::map_shared(file.get(), 0, 1 << 20).has_value(); }),
            "worked");
  const auto map = [&](int protection) {
    return sealed(
        [&] { return ::mmap(nullptr, 4096, protection, MAP_SHARED, file.get(), 0) != MAP_FAILED; });
  };
  EXPECT_EQ(map(PROT_READ | PROT_WRITE), "worked");
  EXPECT_EQ(map(PROT_READ | PROT_EXEC), "SIGSYS");
  EXPECT_EQ(map(PROT_READ | PROT_WRITE | PROT_EXEC), "SIGSYS");
  EXPECT_EQ(sealed([&] {
              void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0);
              return ::mprotect(memory, 4096, PROT_READ | PROT_EXEC) == 0;
            }),
            "SIGSYS");
}

TEST(VsockdSeal, ItStillSaysWhatIsWrong) {
  EXPECT_EQ(sealed([] {
              log(LogLevel::warning, "sealed");
              return true;
            }),
            "worked");
}

TEST(VsockdSeal, SanitizersStillReport) {
  if (!kSanitized) GTEST_SKIP() << "not a sanitizer's build";
  auto [ours, theirs] = sys::make_pipe().value();
  const auto read_past_the_end = [] {
    std::vector<char> bytes(8);
    volatile std::size_t past = 8;
    return bytes.data()[past] == 0;
  };
  const std::string end = sealed(read_past_the_end, theirs.get());
  theirs.reset();
  std::string report(1024, '\0');
  report.resize(static_cast<std::size_t>(::read(ours.get(), report.data(), report.size())));
  EXPECT_THAT(report, ::testing::HasSubstr("AddressSanitizer: heap-buffer-overflow"));
  EXPECT_NE(end, "worked");
}

}  // namespace
}  // namespace pinhole::vhost
