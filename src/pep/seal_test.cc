// SPDX-License-Identifier: Apache-2.0
#include "pep/seal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "audit/writer.h"
#include "base/fd.h"
#include "sys/files.h"

namespace pinhole::pep {
namespace {

std::string sealed(const std::function<int()>& act, bool unlinks_door = false) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!seal({.unlinks_door = unlinks_door})) ::_exit(99);
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

TEST(PepSeal, LeavesWhatComesToAPortThatIsOpenAndOpensNoOther) {
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), name, size), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  ASSERT_EQ(::getsockname(listener.get(), name, &size), 0);
  const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), name, size), 0);
  EXPECT_EQ(
      sealed([&] { return worked(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)); }),
      "exited 7");
  const Fd other(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  address.sin_port = 0;
  EXPECT_EQ(sealed([&] { return worked(::bind(other.get(), name, size)); }), "SIGSYS");
  EXPECT_EQ(sealed([&] { return worked(::listen(other.get(), 8)); }), "SIGSYS");
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

/// A folder, and the PEP's ways to a next log file in it.
class RotationSeal : public testing::Test {
 protected:
  std::string rotating(const std::function<int(int folder)>& act) {
    return sealed_with([&] {
      const int folder = ::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY);
      if (!confine_writes(folder_.path(), {}).value_or(false)) return 98;
      if (!seal({.audit_folder = folder})) return 99;
      return act(folder);
    });
  }
  static std::string sealed_with(const std::function<int()>& act) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(act());
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) return std::string("SIG") + ::sigabbrev_np(WTERMSIG(status));
    return "exited " + std::to_string(WEXITSTATUS(status));
  }
  static int make(int folder, const char* name) {
    return ::openat(folder, name, audit::Writer::kNewFileFlags, audit::Writer::kNewFileMode);
  }

  sys::TempDir folder_ = sys::TempDir::make().value();
  sys::TempDir other_ = sys::TempDir::make().value();
};

TEST_F(RotationSeal, GoesOnToANextFile) {
  EXPECT_EQ(rotating([](int folder) {
              if (make(folder, "a") < 0) return 1;
              return ::renameat2(folder, "a", folder, "a.1", RENAME_NOREPLACE) == 0 ? 7 : 2;
            }),
            "exited 7");
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "a.1"));
}

TEST_F(RotationSeal, LetsTheWriterRotateAndSync) {
  const auto path = folder_.path() / "audit.jsonl";
  EXPECT_EQ(sealed_with([&] {
              auto writer = audit::Writer::open(path, {"web", "b"}, {.rotate_bytes = 1}).value();
              writer.set_sync(audit::Sync::each);
              if (!confine_writes(folder_.path(), {}).value_or(false)) return 98;
              if (!seal({.audit_folder = writer.folder()})) return 99;
              for (int i = 0; i < 3; ++i) {
                if (!writer.append({.request = "r"})) return 1;
              }
              return writer.seal() ? 7 : 2;
            }),
            "exited 7");
  EXPECT_EQ(audit::verify_log(path).value().files, 4U);
}

TEST_F(RotationSeal, ReachesNoOtherFolderByAnAbsoluteName) {
  const std::string outside = other_.path() / "planted";
  const std::string here = other_.path() / "here";
  ASSERT_TRUE(sys::write_file_atomic(here, "x"));
  EXPECT_EQ(rotating([&](int folder) { return make(folder, outside.c_str()) < 0 ? 7 : 1; }),
            "exited 7");
  EXPECT_EQ(rotating([&](int folder) {
              return ::renameat2(folder, here.c_str(), folder, outside.c_str(), RENAME_NOREPLACE) !=
                             0
                         ? 7
                         : 1;
            }),
            "exited 7");
  EXPECT_FALSE(std::filesystem::exists(outside));
}

TEST_F(RotationSeal, ReplacesAndReopensNothing) {
  ASSERT_TRUE(sys::write_file_atomic(folder_.path() / "a", "x"));
  ASSERT_TRUE(sys::write_file_atomic(folder_.path() / "b", "x"));
  EXPECT_EQ(rotating([](int folder) {
              return ::renameat2(folder, "a", folder, "b", RENAME_NOREPLACE) != 0 ? 7 : 1;
            }),
            "exited 7");
  EXPECT_EQ(rotating([](int folder) { return ::renameat2(folder, "a", folder, "b", 0); }),
            "SIGSYS");
  EXPECT_EQ(rotating([](int folder) { return make(folder, "a") < 0 ? 7 : 1; }), "exited 7");
#if !__has_feature(address_sanitizer)
  EXPECT_EQ(rotating([](int folder) { return ::openat(folder, "a", O_RDWR | O_APPEND); }),
            "SIGSYS");
  EXPECT_EQ(rotating([](int) { return make(AT_FDCWD, "/tmp/x"); }), "SIGSYS");
#endif
}

}  // namespace
}  // namespace pinhole::pep
