// SPDX-License-Identifier: Apache-2.0
#include "preflight/host_folders.h"

#include <gtest/gtest.h>

#include "preflight/test_files.h"

namespace pinhole::preflight {
namespace {

class HostFoldersTest : public InFolder {};

constexpr const char* kMounts =
    "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
    "30 22 0:25 / /none/tmp rw - tmpfs tmpfs rw\n"
    "31 22 254:1 /none/home/ana/x/sub /none/mnt/bound rw - ext4 /dev/vda1 rw\n"
    "32 22 254:1 /none/home/ana/a\\040b /none/mnt/a\\040b rw - ext4 /dev/vda1 rw\n"
    "33 22 254:1 /none/data /none/home/bob/data rw - ext4 /dev/vda1 rw\n"
    "34 22 0:4 net:[4026531840] /none/run/netns rw - nsfs nsfs rw\n"
    "broken\n\n";

TEST(HostFolders, KnowWhatIsMountedInTwoPlaces) {
  const HostFolders host(kMounts);
  const auto common = [&](const char* one, const char* other) {
    EXPECT_EQ(host.have_files_in_common(one, other), host.have_files_in_common(other, one));
    return host.have_files_in_common(one, other);
  };
  EXPECT_TRUE(common("/none/home/ana/x", "/none/home/ana/x/sub/y"));
  EXPECT_TRUE(common("/none/home/ana/x", "/none/mnt/bound"));
  EXPECT_TRUE(common("/none/home/ana/x/sub/y", "/none/mnt/bound"));
  EXPECT_TRUE(common("/none/home/ana/x/sub/y", "/none/mnt/bound/y/z"));
  EXPECT_TRUE(common("/none/home/ana/a b", "/none/mnt/a b"));
  EXPECT_TRUE(common("/none/home/bob", "/none/data/deep"));  // mounted in the one
  EXPECT_FALSE(common("/none/home/ana/y", "/none/mnt/bound"));
  EXPECT_FALSE(common("/none/home/ana/x/sub/z", "/none/mnt/bound/y"));
  EXPECT_FALSE(common("/none/home/ana/x", "/none/home/ana/xx"));
  EXPECT_FALSE(common("/none/home/ana", "/none/tmp/home/ana"));
}

TEST_F(HostFoldersTest, AFolderIsTheSameByAnyNameThatLeadsToIt) {
  fs::create_directories(at("real/sub"));
  fs::create_directories(at("apart"));
  fs::create_directory_symlink("real", at("link"));
  const HostFolders host = HostFolders::read().value();
  EXPECT_TRUE(host.have_files_in_common(at("real"), at("link/sub")));
  EXPECT_TRUE(host.have_files_in_common(at("link/sub/new/one"), at("real/sub")));
  EXPECT_FALSE(host.have_files_in_common(at("real"), at("apart")));
}

}  // namespace
}  // namespace pinhole::preflight
