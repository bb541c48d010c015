// SPDX-License-Identifier: Apache-2.0
// The guard of a workspace as the real virtiofsd has it: started with the supervisor's Command, after it has changed its
// root once more by itself. What is tried here is tried in its own namespaces, with all the rights that it has there.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <functional>

#include <gtest/gtest.h>

#include "supervisor/launch.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace fs = std::filesystem;

class GuardedWorkspace : public testing::Test {
 protected:
  void SetUp() override {
    plan_.name = "web";
    for (const char* path : {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"})
      if (fs::exists(path)) plan_.virtiofsd = path;
    ASSERT_FALSE(plan_.virtiofsd.empty()) << "virtiofsd is missing";
    share_ = {.tag = "workspace", .host = work_, .guest = "/workspace"};
    for (const char* name : {".git/HEAD", ".git/config", ".git/hooks/pre-commit", ".envrc", "file",
                             "packages/a/.git/config", "packages/a/.git/objects/x", "dir/x"}) {
      fs::create_directories((work_ / name).parent_path());
      std::ofstream(work_ / name) << "mine";
    }
    share_.guarded = {".git/config", ".git/hooks", ".envrc", "packages/a/.git/config"};
    start();
  }

  void start() {
    const sys::User user = sys::current_user().value();
    const auto uids = sys::subordinate_ids("/etc/subuid", user);
    const auto gids = sys::subordinate_ids("/etc/subgid", user);
    ASSERT_TRUE(uids && gids) << "the user running this test has no subordinate ids";
    const Fd listener = sys::listen_unix(folder_.path() / "sock").value();
    sys::set_blocking(listener.get());
    const Fd log(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    sys::Command command = virtiofsd_command(
        plan_, share_, {.user = user, .uids = *uids, .gids = *gids}, listener.get(), log.get());
    command.isolation = sys::available_here(std::move(command.isolation)).value();
    process_.emplace(sys::spawn(command).value());
    // It changes its root when somebody has connected, in a process of its own.
    client_ = sys::connect_unix(folder_.path() / "sock").value();
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries && server_ == 0; ++i) {
      ::poll(nullptr, 0, 10);
      look_for_server();
    }
    ASSERT_NE(server_, 0) << "virtiofsd did not change its root";
  }

  void look_for_server() {
    const std::string self = fmt::format("/proc/{0}/task/{0}/children", process_->pid());
    pid_t child = 0;
    std::ifstream(self) >> child;
    std::error_code error;
    if (child != 0 && fs::exists(fmt::format("/proc/{}/root/file", child), error)) server_ = child;
  }

  /// The error of `act` in virtiofsd's namespaces; 0 where it could be done.
  int inside(const std::function<bool()>& act) const {
    const Fd user(::open(fmt::format("/proc/{}/ns/user", server_).c_str(), O_RDONLY | O_CLOEXEC));
    const Fd mounts(::open(fmt::format("/proc/{}/ns/mnt", server_).c_str(), O_RDONLY | O_CLOEXEC));
    const pid_t child = ::fork();
    if (child == 0) {
      constexpr int kNotThere = 255;
      if (::setns(user.get(), CLONE_NEWUSER) != 0 || ::setns(mounts.get(), CLONE_NEWNS) != 0 ||
          ::chdir("/") != 0)
        ::_exit(kNotThere);
      errno = 0;
      ::_exit(act() ? 0 : errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static bool opens(const char* path, int flags) { return ::open(path, flags, 0600) >= 0; }
  static bool renames(const char* from, const char* to, unsigned flags = 0) {
    return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) == 0;
  }

  sys::TempDir folder_ = sys::TempDir::make().value();
  fs::path work_ = fs::canonical(folder_.path()) / "work";
  config::VmPlan plan_;
  config::Share share_;
  std::optional<sys::Process> process_;
  Fd client_;
  pid_t server_ = 0;
};

TEST_F(GuardedWorkspace, IsWrittenEverywhereElse) {
  for (const char* path : {"new", ".git/new", "packages/a/.git/objects/y"})
    EXPECT_EQ(inside([&] { return opens(path, O_WRONLY | O_CREAT); }), 0) << path;
  EXPECT_EQ(inside([] { return renames(".git/new", ".git/index"); }), 0);
  EXPECT_EQ(inside([] { return renames("file", "other"); }), 0);
  EXPECT_EQ(inside([] { return renames("dir", "dir2"); }), 0);
  EXPECT_EQ(inside([] { return ::link("other", "hard") == 0; }), 0);
  EXPECT_EQ(inside([] { return ::chmod("other", 0700) == 0; }), 0);
  EXPECT_EQ(inside([] { return ::unlink("other") == 0; }), 0);
}

TEST_F(GuardedWorkspace, IsNotWrittenWhereItIsGuarded) {
  for (const char* path :
       {".git/config", ".envrc", "packages/a/.git/config", ".git/hooks/pre-commit"}) {
    EXPECT_EQ(inside([&] { return opens(path, O_RDONLY); }), 0) << path;
    EXPECT_EQ(inside([&] { return opens(path, O_WRONLY); }), EROFS) << path;
    EXPECT_EQ(inside([&] { return ::truncate(path, 0) == 0; }), EROFS) << path;
    EXPECT_EQ(inside([&] { return ::chmod(path, 0777) == 0; }), EROFS) << path;
    EXPECT_EQ(inside([&] { return ::utimensat(AT_FDCWD, path, nullptr, 0) == 0; }), EROFS) << path;
    EXPECT_EQ(inside([&] { return ::link(path, "hard") == 0; }), EXDEV) << path;
  }
  EXPECT_EQ(inside([] { return opens(".git/hooks/new", O_WRONLY | O_CREAT); }), EROFS);
  EXPECT_EQ(inside([] { return ::unlink(".git/hooks/pre-commit") == 0; }), EROFS);
  EXPECT_EQ(inside([] { return ::link("file", ".git/hooks/new") == 0; }), EROFS);
}

TEST_F(GuardedWorkspace, KeepsTheNamesOfWhatIsGuardedAndOfTheFoldersOnTheWay) {
  for (const char* path : {".git", ".git/config", ".git/hooks", ".envrc", "packages", "packages/a",
                           "packages/a/.git"}) {
    const std::string other = path + std::string("2");
    EXPECT_EQ(inside([&] { return renames(path, other.c_str()); }), EBUSY) << path;
    fs::create_directory(work_ / other);
    EXPECT_EQ(inside([&] { return renames(path, other.c_str(), RENAME_EXCHANGE); }), EBUSY) << path;
  }
  for (const char* path : {".git/config", ".envrc", "packages/a/.git/config"}) {
    EXPECT_EQ(inside([&] { return ::unlink(path) == 0; }), EBUSY) << path;
  }
  EXPECT_EQ(inside([] { return renames("file", ".envrc"); }), EBUSY);
  EXPECT_EQ(inside([] { return ::rmdir(".git/hooks") == 0; }), EBUSY);
}

/// As virtiofsd itself opens files: by the magic link of a descriptor that only names one.
TEST_F(GuardedWorkspace, IsNotWrittenByWayOfADescriptorEither) {
  const Fd self(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto by_descriptor = [&](const char* path) {
    return inside([&] {
      const Fd named(::open(path, O_PATH | O_CLOEXEC));
      const std::string link = fmt::format("self/fd/{}", named.get());
      return ::openat(self.get(), link.c_str(), O_WRONLY) >= 0;
    });
  };
  EXPECT_EQ(by_descriptor("file"), 0);
  EXPECT_EQ(by_descriptor(".envrc"), EROFS);
  EXPECT_EQ(by_descriptor(".git/config"), EROFS);
}

TEST_F(GuardedWorkspace, LosesTheGuardOfAFileThatTheHostReplaces) {
  // Documented in docs/workspace.md: the scan at the end finds what is written then.
  std::ofstream(work_ / "lock") << "new";
  fs::rename(work_ / "lock", work_ / ".git/config");
  EXPECT_EQ(inside([] { return opens(".git/config", O_WRONLY); }), 0);
  EXPECT_EQ(inside([] { return opens(".git/hooks/new", O_WRONLY | O_CREAT); }), EROFS);
}

}  // namespace
}  // namespace pinhole::supervisor
