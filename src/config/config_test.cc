// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/paths.h"
#include "config/trust.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "sys/files.h"

namespace pinhole::config {
namespace {

TEST(VmName, TakesOrdinaryNamesAndNothingElse) {
  for (const char* good : {"web", "a", "7", "my-vm_2.1"})
    EXPECT_EQ(valid_vm_name(good).value(), good);
  const std::string longest(kLongestName, 'a');
  EXPECT_TRUE(valid_vm_name(longest));
  for (const std::string& bad :
       {std::string(""), std::string("../up"), std::string("a/b"), std::string(".."),
        std::string("a..b"), std::string("a b"), std::string(" "), std::string("-a"),
        std::string("Web"), std::string("a\nb"), longest + "a", std::string(300, 'x')}) {
    ASSERT_FALSE(valid_vm_name(bad)) << bad;
    EXPECT_EQ(valid_vm_name(bad).error().code, "name_invalid");
  }
}

TEST(Paths, FollowXdgAndFallBackToAPrivateFolder) {
  ::setenv("HOME", "/home/ana", 1);
  ::unsetenv("XDG_DATA_HOME");
  ::setenv("XDG_STATE_HOME", "/state", 1);
  ::setenv("XDG_RUNTIME_DIR", "relative/is/ignored", 1);
  const Paths paths = user_paths().value();
  EXPECT_EQ(paths.images, "/home/ana/.local/share/pinhole/images");
  EXPECT_EQ(paths.vms, "/state/pinhole/vms");
  EXPECT_THAT(paths.runtime.string(), testing::StartsWith("/tmp/pinhole-"));
  ::setenv("XDG_RUNTIME_DIR", "/run/user/1000", 1);
  const Paths with_runtime = user_paths().value();
  EXPECT_EQ(with_runtime.runtime, "/run/user/1000/pinhole");
  // The longest name still gives socket paths that the kernel takes.
  EXPECT_LE(vm_paths(with_runtime, std::string(kLongestName, 'n')).control_socket.string().size(),
            107U);
}

TEST(VmFile, ReadsItsPartAndLeavesTheRest) {
  const auto request = parse_vm_request(
                           "version: 1\nvm: {image: base, cpus: 2, memory: 2GiB, workspace: "
                           ".}\negress: {anything: 1}\n",
                           "pinhole.yaml")
                           .value();
  EXPECT_EQ(request.image, "base");
  EXPECT_EQ(request.cpus, 2U);
  EXPECT_EQ(request.memory_mib, 2048U);
  EXPECT_FALSE(request.disk);
}

TEST(VmFile, RefusesWhatItDoesNotUnderstand) {
  const auto message = [](std::string_view text) {
    return parse_vm_request(text, "pinhole.yaml").error().message;
  };
  EXPECT_EQ(message("vm:\n  imgae: base\n"),
            "pinhole.yaml:2:3: unknown key \"imgae\"; did you mean \"image\"?");
  EXPECT_THAT(message("vm: {cpus: many}\n"), testing::StartsWith("pinhole.yaml:1:12: \"cpus\""));
  EXPECT_THAT(message("vm: {cpus: 0}\n"), testing::StartsWith("pinhole.yaml:1:12: \"cpus\""));
  EXPECT_THAT(message("vm: {boot: bios}\n"), testing::StartsWith("pinhole.yaml:1:12: \"boot\""));
  EXPECT_THAT(message("vm: {image: a, image: b}\n"), testing::HasSubstr("duplicate key"));
  EXPECT_THAT(message("vm: {image: a, disk: b}\n"), testing::HasSubstr("exclude each other"));
  EXPECT_THAT(message("vm: &x {image: a}\n"), testing::HasSubstr("anchor"));
  EXPECT_THAT(message("vm:\n\timage: a\n"), testing::HasSubstr("tab"));
}

TEST(VmFile, FlagsWin) {
  const VmRequest file{.image = "base", .cpus = 2};
  const VmRequest both = merged({.disk = "d.raw", .cpus = 4}, file);
  EXPECT_FALSE(both.image);
  EXPECT_EQ(both.disk, "d.raw");
  EXPECT_EQ(both.cpus, 4U);
  EXPECT_EQ(merged({}, file).image, "base");
}

TEST(VmFile, KnowsWhoseWordAPathIs) {
  const VmRequest file =
      parse_vm_request("vm: {disk: d.raw, workspace: ., user_data: u}\n", "pinhole.yaml").value();
  const VmRequest from_file = merged({}, file);
  EXPECT_TRUE(from_file.disk_from_project && from_file.workspace_from_project &&
              from_file.user_data_from_project);
  const VmRequest from_flags = merged({.disk = "/d", .workspace = "/w", .user_data = "/u"}, file);
  EXPECT_FALSE(from_flags.disk_from_project || from_flags.workspace_from_project ||
               from_flags.user_data_from_project);
  const VmRequest silent = parse_vm_request("vm: {cpus: 2}\n", "pinhole.yaml").value();
  EXPECT_FALSE(silent.disk_from_project || silent.workspace_from_project ||
               silent.user_data_from_project);
}

TEST(Trust, CountsByPathAndContent) {
  const auto folder = sys::TempDir::make().value();
  const auto file = folder.path() / "config/trusted.yaml";
  auto store = TrustStore::load(file).value();
  EXPECT_FALSE(store.trusts("/p/pinhole.yaml", "aa"));
  ASSERT_TRUE(store.add("/p/pinhole.yaml", "aa"));
  ASSERT_TRUE(store.add("/q\"uote/pinhole.yaml", "bb"));
  store = TrustStore::load(file).value();
  EXPECT_TRUE(store.trusts("/p/pinhole.yaml", "aa"));
  EXPECT_TRUE(store.trusts("/q\"uote/pinhole.yaml", "bb"));
  EXPECT_FALSE(store.trusts("/p/pinhole.yaml", "bb"));
  ASSERT_TRUE(store.add("/p/pinhole.yaml", "cc"));
  EXPECT_FALSE(TrustStore::load(file)->trusts("/p/pinhole.yaml", "aa"));
}

TEST(Trust, DamagedStoreIsAnError) {
  const auto folder = sys::TempDir::make().value();
  std::ofstream(folder.path() / "trusted.yaml") << "version: 2\n";
  EXPECT_THAT(TrustStore::load(folder.path() / "trusted.yaml").error().message,
              testing::HasSubstr("newer version"));
  std::ofstream(folder.path() / "trusted.yaml") << "version: 1\ntrusted: [{path: x}]\n";
  EXPECT_FALSE(TrustStore::load(folder.path() / "trusted.yaml"));
}

VmPlan sample_plan() {
  return {
      .name = "web",
      .image = "base",
      .image_sha256 = "ab",
      .disk = {.path = "/v/disk.qcow2", .format = DiskFormat::qcow2},
      .backing = Disk{.path = "/i/disk.raw"},
      .firmware = {.code = "/fw/code", .vars_template = "/fw/vars"},
      .qemu = "/usr/bin/qemu-system-x86_64",
      .virtiofsd = "/usr/lib/qemu/virtiofsd",
      .accelerator_reason = "why",
      .instance_id = "i-1",
      .shares =
          {{.tag = "workspace",
            .host = "/home/ana/p",
            .guest = "/workspace",
            .guarded = {".git/config", "caf\xe9/.git/hooks"},
            .overlay = "/home/ana/.local/state/pinhole/reviews/web"},
           {.tag = "share-1", .host = "/data", .guest = "/data", .read_only = true, .cache = true}},
      .workspace_markers = true,
      .guard = GuardLevel::strict,
      .policy = {{.layer = "user", .path = "/v/policy-0.yaml", .name = "config.yaml"}},
      .fetches = {"http://a/"},
      .ephemeral = true,
      .capture = false};
}

TEST(VmFile, NamesALevelOfTheGuardAndAFlagWins) {
  const auto file = parse_vm_request("vm: {guard: strict}\n", "pinhole.yaml").value();
  EXPECT_EQ(file.guard, GuardLevel::strict);
  EXPECT_EQ(merged({}, file).guard, GuardLevel::strict);
  EXPECT_EQ(merged({.guard = GuardLevel::off}, file).guard, GuardLevel::off);
  EXPECT_EQ(
      parse_vm_request("vm: {guard: of}\n", "pinhole.yaml").error().message,
      "pinhole.yaml:1:13: \"guard\" expects one of off, warn, strict, found \"of\"; did you mean "
      "\"off\"?");
}

TEST(VmPlan, OfAnOlderVersionGuardsNothing) {
  std::string text = to_json({});
  const std::string guard = "\"guard\":\"warn\",\"shares\":[],";
  text.replace(text.find(guard), guard.size(), "");
  EXPECT_EQ(parse_vm_plan(text).value(), VmPlan());
}

TEST(VmPlan, OfAnOlderVersionHasOneShare) {
  std::string text = to_json({});
  const std::string shares = "\"shares\":[]";
  const auto with = [&](std::string_view old) {
    std::string out = text;
    return parse_vm_plan(out.replace(out.find(shares), shares.size(), old));
  };
  const auto plan = with(R"("workspace":"/p","guarded":["2e656e76"])");
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(*plan->workspace(),
            (Share{.tag = "workspace", .host = "/p", .guest = "/workspace", .guarded = {".env"}}));
  EXPECT_EQ(with(R"("guarded":["x6"])").error().message, "the VM's plan is damaged at \"guarded\"");
  EXPECT_EQ(with(R"("guarded":[])")->workspace(), nullptr);
}

TEST(VmPlan, RefusesADamagedShare) {
  for (const auto& [old, damage] :
       {std::pair("\"2e6769", "\"x6769"), std::pair("\"tag\":", "\"tug\":"),
        std::pair("\"cache\":true", "\"cache\":1")}) {
    std::string text = to_json(sample_plan());
    text.replace(text.find(old), std::string_view(old).size(), damage);
    EXPECT_EQ(parse_vm_plan(text).error().message, "the VM's plan is damaged at \"shares\"");
  }
  VmPlan many;
  many.shares.resize(kMostShares + 1);
  EXPECT_FALSE(parse_vm_plan(to_json(many)));
  many.shares.resize(kMostShares);
  EXPECT_TRUE(parse_vm_plan(to_json(many)));
}

TEST(VmPlan, SurvivesJson) {
  EXPECT_EQ(parse_vm_plan(to_json(sample_plan())).value(), sample_plan());
}

TEST(VmPlan, OfADirectBootSurvivesJsonToo) {
  VmPlan plan = sample_plan();
  plan.direct = DirectBoot{.kernel = "/i/vmlinuz",
                           .initrd = "/v/initrd",
                           .cmdline = "console=ttyS0",
                           .hostname = "web",
                           .user = {.name = "ana", .uid = 1000, .gid = 1001}};
  std::string text = to_json(plan);
  EXPECT_EQ(parse_vm_plan(text).value(), plan);
  text.replace(text.find("\"uid\":1000"), 10, "\"uid\":4294967296");
  EXPECT_EQ(parse_vm_plan(text).error().message, "the VM's plan is damaged at \"direct\"");
}

TEST(VmFile, NamesAWayToBootAndAFlagWins) {
  const auto file = parse_vm_request("vm: {boot: direct}\n", "pinhole.yaml").value();
  EXPECT_EQ(file.boot, BootWish::direct);
  EXPECT_EQ(merged({}, file).boot, BootWish::direct);
  EXPECT_EQ(merged({.boot = BootWish::efi}, file).boot, BootWish::efi);
  EXPECT_FALSE(parse_vm_request("vm: {boot: bios}\n", "pinhole.yaml"));
}

TEST(VmPlan, RefusesAnotherVersionAndDamage) {
  std::string text = to_json(sample_plan());
  text.replace(text.find("\"version\":1"), 11, "\"version\":2");
  EXPECT_THAT(parse_vm_plan(text).error().message, testing::HasSubstr("another version"));
  text = to_json(sample_plan());
  text.replace(text.find("\"format\":\"raw\""), 14, "\"format\":\"vmdk\"");
  EXPECT_EQ(parse_vm_plan(text).error().message, "the VM's plan is damaged at \"backing\"");
  for (const auto& [member, place] :
       {std::pair("\"version\":1", "extra"), std::pair("\"format\":\"raw\"", "backing"),
        std::pair("\"layer\":\"user\"", "policy")}) {
    text = to_json(sample_plan());
    text.insert(text.find(member), "\"extra\":0,");
    EXPECT_EQ(parse_vm_plan(text).error().message,
              fmt::format("the VM's plan is damaged at \"{}\"", place));
  }
  EXPECT_FALSE(parse_vm_plan("{"));
  EXPECT_FALSE(parse_vm_plan("{\"version\":1}"));
}

}  // namespace
}  // namespace pinhole::config
