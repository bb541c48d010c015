// SPDX-License-Identifier: Apache-2.0
#include "preflight/direct_boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "preflight/test_files.h"

namespace pinhole::preflight {
namespace {

using config::BootWish;
using config::VmRequest;
using testing::HasSubstr;
using testing::Not;

const DirectImage kImage = {.kernel = "/i/vmlinuz", .modules = "/i/direct.cpio"};

bool direct(const VmRequest& request, const std::optional<DirectImage>& image) {
  return boots_directly(request, "base", image).value();
}

TEST(BootsDirectly, AutomaticallyWhereTheImageCanAndNobodyNeedsCloudInit) {
  for (const std::optional<BootWish> wish : {std::optional<BootWish>(), {BootWish::automatic}}) {
    EXPECT_TRUE(direct({.boot = wish}, kImage));
    EXPECT_FALSE(direct({.boot = wish}, std::nullopt));
    EXPECT_FALSE(direct({.boot = wish, .user_data = "seed.yaml"}, kImage));
    EXPECT_FALSE(direct({.disk = "d.raw", .boot = wish}, std::nullopt));
  }
  EXPECT_FALSE(direct({.boot = BootWish::efi}, kImage));
  EXPECT_TRUE(direct({.boot = BootWish::direct}, kImage));
}

TEST(BootsDirectly, AWishThatCannotBeFulfilledIsAnErrorWithItsReason) {
  const auto refused = [](const VmRequest& request, const std::optional<DirectImage>& image) {
    const auto answer = boots_directly(request, "old", image);
    EXPECT_FALSE(answer);
    EXPECT_NE(answer.error().fix, "");
    return answer.error().message;
  };
  EXPECT_EQ(refused({.disk = "d.raw", .boot = BootWish::direct}, std::nullopt),
            "a disk of your own cannot boot directly: its kernel is in it");
  EXPECT_EQ(refused({.boot = BootWish::direct, .user_data = "seed.yaml"}, kImage),
            "a direct boot has no cloud-init that would run the user-data");
  EXPECT_EQ(refused({.boot = BootWish::direct}, std::nullopt),
            "image \"old\" has nothing to boot directly with");
}

TEST(DirectCmdline, KeepsMitigationsAndTheConsoleAndTrustsEmulatedTime) {
  for (const auto accelerator : {config::Accelerator::tcg, config::Accelerator::kvm}) {
    const std::string text = direct_cmdline(accelerator);
    EXPECT_THAT(text, HasSubstr("console=ttyS0 loglevel=4 panic=-1"));
    EXPECT_THAT(text, Not(HasSubstr("mitigations")));
  }
  EXPECT_THAT(direct_cmdline(config::Accelerator::tcg), HasSubstr(" tsc=reliable"));
  EXPECT_THAT(direct_cmdline(config::Accelerator::kvm), Not(HasSubstr("tsc=")));
}

TEST(GuestUserName, IsTheUsersWhereItIsAnOrdinaryOne) {
  EXPECT_EQ(guest_user_name({.name = "ana_b-2"}), "ana_b-2");
  for (const char* name : {"", "Ana", "2ana", "ana.b", "ana:b", "an\na"})
    EXPECT_EQ(guest_user_name({.name = name}), "user") << name;
  EXPECT_EQ(guest_user_name({.name = std::string(32, 'a')}), std::string(32, 'a'));
  EXPECT_EQ(guest_user_name({.name = std::string(33, 'a')}), "user");
}

class Initrd : public InFolder {};

TEST_F(Initrd, IsTheImagesModulesAndBehindThemTheAgentAsItsInit) {
  put("direct.cpio", "MODULES!");
  put("agent", "ELF");
  ASSERT_TRUE(write_initrd(at("direct.cpio"), at("agent"), at("initrd")));
  const std::string text = sys::read_file(at("initrd"), 1 << 20).value();
  EXPECT_THAT(text, testing::StartsWith("MODULES!070701"));
  EXPECT_THAT(text, HasSubstr(std::string("init\0", 5)));
  EXPECT_THAT(text, HasSubstr("000081ED"));  // a regular file, 0755
  EXPECT_THAT(text, HasSubstr("ELF"));
  EXPECT_FALSE(write_initrd(at("direct.cpio"), at("missing"), at("initrd")));
  EXPECT_EQ(sys::read_file(at("initrd"), 1 << 20).value(), text);
}

}  // namespace
}  // namespace pinhole::preflight
