// SPDX-License-Identifier: Apache-2.0
#include "supervisor/machine_files.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/launch.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class MachineFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    paths_ = config::vm_paths(
        {.images = root_, .vms = root_, .state = root_, .runtime = root_ / "r", .config = root_},
        "web");
    fs::create_directories(paths_.dir);
    fs::create_directories(paths_.names);
    fs::create_directory(root_ / "shared");
    for (const auto& path : {paths_.efi_vars, paths_.seed, paths_.disk, root_ / "code.fd",
                             root_ / "base.raw", root_ / "shared/own.raw"})
      ASSERT_TRUE(sys::write_file_atomic(path, path.filename().string()));
    plan_.firmware.code = root_ / "code.fd";
    plan_.disk.path = paths_.disk;
    plan_.backing = config::Disk{.path = root_ / "base.raw"};
  }
  static bool writable(const Fd& fd) { return (::fcntl(fd.get(), F_GETFL) & O_ACCMODE) == O_RDWR; }

  sys::TempDir folder_ = sys::TempDir::make().value();
  fs::path root_ = fs::canonical(folder_.path());
  config::VmPaths paths_;
  config::VmPlan plan_;
};

TEST_F(MachineFilesTest, AreWritableWhereTheMachineWritesAndNowhereElse) {
  const auto files = open_machine_files(plan_, paths_).value();
  EXPECT_TRUE(writable(files.disk) && writable(files.firmware_vars));
  EXPECT_FALSE(writable(files.backing) || writable(files.firmware_code) || writable(files.seed));
}

TEST_F(MachineFilesTest, ADirectBootWantsNoFirmwareAndNoSeed) {
  for (const auto& path : {paths_.efi_vars, paths_.seed, root_ / "code.fd"}) fs::remove(path);
  EXPECT_FALSE(open_machine_files(plan_, paths_));
  plan_.firmware = {};
  plan_.direct = config::DirectBoot{};
  const auto files = open_machine_files(plan_, paths_).value();
  EXPECT_TRUE(writable(files.disk));
  EXPECT_FALSE(files.firmware_code || files.firmware_vars || files.seed);
}

TEST_F(MachineFilesTest, DiskOfTheUsersOwnIsNotFoundThroughALinkThatAGuestHasMade) {
  plan_.backing.reset();
  plan_.disk.path = root_ / "shared/own.raw";
  EXPECT_TRUE(open_machine_files(plan_, paths_));
  fs::remove(plan_.disk.path);
  fs::create_symlink(paths_.disk, plan_.disk.path);
  EXPECT_THAT(open_machine_files(plan_, paths_).error().message,
              HasSubstr("a symbolic link has taken the place"));
}

TEST_F(MachineFilesTest, BackEndsSocketIsConnectedAndItsPathGone) {
  const auto socket = listen_and_connect(root_ / "s").value();
  EXPECT_FALSE(fs::exists(root_ / "s"));
  ASSERT_TRUE(sys::write_all(socket.client.get(), "hello"));
  const Fd accepted(::accept(socket.listener.get(), nullptr, nullptr));
  char text[8] = {};
  EXPECT_EQ(::read(accepted.get(), text, sizeof(text)), 5);
}

TEST_F(MachineFilesTest, ListenerThatAProcessHasShutIsMadeAnewAndAnotherStays) {
  Fd listener = sys::listen_unix(root_ / "door").value();
  const int before = listener.get();
  const Fd waiting = sys::connect_unix(root_ / "door").value();
  ASSERT_TRUE(renew_if_shut(listener, root_ / "door"));
  EXPECT_EQ(listener.get(), before);
  EXPECT_GE(::accept(listener.get(), nullptr, nullptr), 0);  // who waited is still there
  ::shutdown(listener.get(), SHUT_RDWR);
  EXPECT_FALSE(sys::connect_unix(root_ / "door"));
  ASSERT_TRUE(renew_if_shut(listener, root_ / "door"));
  EXPECT_TRUE(sys::connect_unix(root_ / "door"));
}

TEST_F(MachineFilesTest, NameServersFollowTheHostsFileEvenWhenItIsReplaced) {
  const auto copy = paths_.names / kResolvConf;
  EXPECT_TRUE(refresh_resolv_conf(root_ / "missing", paths_).value());
  EXPECT_EQ(sys::read_file(copy, 100).value(), "");
  ASSERT_TRUE(sys::write_file_atomic(root_ / "resolv.conf", "nameserver 192.0.2.1\n"));
  EXPECT_TRUE(refresh_resolv_conf(root_ / "resolv.conf", paths_).value());
  EXPECT_FALSE(refresh_resolv_conf(root_ / "resolv.conf", paths_).value());
  ASSERT_TRUE(sys::write_file_atomic(root_ / "resolv.conf", "nameserver 192.0.2.2\n"));
  EXPECT_TRUE(refresh_resolv_conf(root_ / "resolv.conf", paths_).value());
  EXPECT_EQ(sys::read_file(copy, 100).value(), "nameserver 192.0.2.2\n");
}

}  // namespace
}  // namespace pinhole::supervisor
