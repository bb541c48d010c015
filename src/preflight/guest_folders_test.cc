// SPDX-License-Identifier: Apache-2.0
#include "preflight/guest_folders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "artifact/disk.h"
#include "artifact/test_artifacts.h"
#include "config/vm_plan.h"
#include "preflight/test_files.h"

namespace pinhole::preflight {
namespace {

/// A guest's folder and one of the user's own, each with a file, and links of both kinds.
class Guests : public InFolder {
 protected:
  Guests() {
    put("work/plain", "of the guest");
    put("work/sub/plain", "of the guest");
    put("home/secret", "secret");
    fs::create_symlink("../home/secret", at("work/link"));
    fs::create_directory_symlink("../home", at("work/dir"));
    fs::create_symlink("secret", at("home/link"));
    fs::create_directory_symlink("../work", at("home/to-work"));
    fs::create_symlink("../work/link", at("home/to-link"));
    guests_ = GuestFolders::of(paths(), {at("work"), at("missing")});
  }
  std::string read(const char* name) {
    const auto text = guests_.read(at(name), 100);
    return text ? *text : "refused";
  }
  GuestFolders guests_;
};

TEST_F(Guests, LinksAreFollowedWhereTheUserMadeThemAndNowhereElse) {
  EXPECT_EQ(read("home/secret"), "secret");
  EXPECT_EQ(read("home/link"), "secret");
  EXPECT_EQ(read("work/plain"), "of the guest");
  EXPECT_EQ(read("work/sub/../plain"), "of the guest");
  EXPECT_EQ(read("home/to-work/plain"), "of the guest");
  for (const char* attack :
       {"work/link", "work/dir/secret", "home/to-work/link", "home/to-link", "work/../work/link"})
    EXPECT_EQ(read(attack), "refused") << attack;
  fs::create_symlink("loop", at("home/loop"));
  EXPECT_EQ(read("home/loop"), "refused");
}

TEST_F(Guests, APathStopsBeingResolvedWhereAGuestWrites) {
  const fs::path folder = fs::canonical(folder_.path());
  EXPECT_EQ(guests_.resolve(at("home/link")), folder / "home/secret");
  EXPECT_EQ(guests_.resolve(at("home/to-work/dir/secret")), folder / "work/dir/secret");
  EXPECT_EQ(guests_.resolve(at("home/missing/file")), folder / "home/missing/file");
  put("home/disk", artifact::test::bootable_disk());
  using artifact::DiskAccess;
  EXPECT_TRUE(artifact::check_raw_disk(guests_.resolve(at("home/disk")), DiskAccess::read_write));
  EXPECT_FALSE(
      artifact::check_raw_disk(guests_.resolve(at("work/dir/disk")), DiskAccess::read_write));
}

TEST_F(Guests, WorkspacesOfEveryVmAreAmongThem) {
  config::VmPlan plan;
  plan.name = "web";
  plan.shares = {{.tag = "share-1", .host = fs::canonical(at("home")), .guest = "/data"}};
  plan.disk.path = "/d";
  put("state/vms/web/plan.json", config::to_json(plan));
  put("state/vms/broken/plan.json", "{");
  const GuestFolders all = GuestFolders::of(paths());
  EXPECT_TRUE(all.read(at("home/secret"), 100));
  EXPECT_FALSE(all.read(at("home/link"), 100));
  EXPECT_TRUE(all.read(at("work/link"), 100));  // nobody's workspace
}

}  // namespace
}  // namespace pinhole::preflight
