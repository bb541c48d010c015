// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "preflight/artifact.h"
#include "preflight/kvm_probe.h"
#include "preflight/policy_files.h"
#include "preflight/workspace.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class InFolder : public testing::Test {
 protected:
  void put(const fs::path& name, std::string_view text) {
    fs::create_directories(at(name).parent_path());
    std::ofstream(at(name)) << text;
  }
  fs::path at(const fs::path& name) { return folder_.path() / name; }
  config::Paths paths() {
    return {.images = at("data/images"),
            .vms = at("state/vms"),
            .state = at("state"),
            .runtime = at("run"),
            .config = at("config")};
  }
  sys::TempDir folder_ = sys::TempDir::make().value();
};

TEST(Identify, NamesWhatPeopleReallySaved) {
  EXPECT_EQ(identify("  <!DOCTYPE HTML><title>404"),
            "an HTML page, most likely a saved error page");
  EXPECT_EQ(identify("<?xml version=\"1.0\"?><Error>"),
            "an XML document, most likely a saved error page");
  EXPECT_EQ(identify("{\"message\":\"Not Found\"}"),
            "a JSON document, most likely a saved error answer");
  EXPECT_EQ(identify("version https://git-lfs.github.com/spec/v1\n"),
            "a Git LFS pointer, not the file itself (git lfs pull)");
  EXPECT_EQ(identify("QFI\xfb"), "a qcow2 disk image");
  EXPECT_EQ(identify(""), "an empty file");
  EXPECT_EQ(identify(std::string(512, '\0') + "EFI PART"), "a GPT disk");
  EXPECT_EQ(identify("anything"), "unknown data");
}

using RawDisk = InFolder;

TEST_F(RawDisk, IsJudgedByContent) {
  put("good.raw", std::string(512, '\0') + "EFI PART" + std::string(1016, '\0'));
  EXPECT_TRUE(check_raw_disk(at("good.raw")));
  put("disk.raw", "QFI\xfb" + std::string(508, '\0'));
  const auto qcow2 = check_raw_disk(at("disk.raw"));
  EXPECT_THAT(qcow2.error().message,
              HasSubstr("it has 512 bytes and is a qcow2 disk image, not a raw disk with a GPT"));
  EXPECT_THAT(qcow2.error().fix, HasSubstr("qemu-img convert"));
  put("torn.raw", std::string(512, '\0') + "EFI PART!");
  EXPECT_FALSE(check_raw_disk(at("torn.raw")));
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_THAT(check_raw_disk(at("fifo")).error().message, HasSubstr("not a regular file"));
}

class WorkspaceFolder : public InFolder {
 protected:
  sys::User user() { return {.uid = 1000, .gid = 1000, .name = "ana", .home = at("home")}; }
  auto check(const fs::path& path, bool explicitly = false) {
    return check_workspace(at(path), explicitly, user(), paths());
  }
};

TEST_F(WorkspaceFolder, OrdinaryProjectIsFineAndItsCredentialsArePointedOut) {
  put("home/project/.env", "");
  put("home/project/id_ed25519", "");
  put("home/project/id_ed25519.pub", "");
  put("home/project/.npmrc", "//registry/:_authToken=x");
  put("home/project/main.c", "");
  const auto workspace = check("home/project").value();
  EXPECT_THAT(workspace.credentials, testing::UnorderedElementsAre(".env", "id_ed25519", ".npmrc"));
}

TEST_F(WorkspaceFolder, NeverGivesAwayTheHomeFolderByAccident) {
  put("home/x", "");
  EXPECT_FALSE(check("home"));
  EXPECT_TRUE(check("home", true));
  put("keys/.ssh/id_rsa", "");
  EXPECT_FALSE(check("keys"));
  EXPECT_FALSE(check_workspace("/", true, user(), paths()));
  put("state/vms/web/plan.json", "");
  EXPECT_FALSE(check("state/vms/web", true));
  fs::create_directory_symlink(at("home"), at("link"));
  EXPECT_FALSE(check("link"));  // a link is where it leads
  EXPECT_THAT(check("nowhere").error().message, HasSubstr("No such file or directory"));
}

class PolicyFiles : public InFolder {
 protected:
  auto gather(PolicySources sources) { return gather_policies(paths(), sources); }
};

TEST_F(PolicyFiles, NoFilesAllowNothingAndAreNoError) {
  EXPECT_TRUE(gather({}).value().files.empty());
}

TEST_F(PolicyFiles, ProjectCountsOnlyWhileItsContentIsTrusted) {
  const std::string text = "version: 1\nvm: {cpus: 3}\negress: {allow: [example.com]}\n";
  put("project/pinhole.yaml", text);
  const PolicySources sources{.project = at("project/pinhole.yaml")};
  EXPECT_EQ(gather(sources).error().code, "not_trusted");
  PolicySources given = sources;
  given.trusted_hash = "sha256:" + sha256_hex(text);
  EXPECT_EQ(gather(given).value().project_request.cpus, 3U);
  put("project/pinhole.yaml", text + "# changed\n");
  EXPECT_EQ(gather(given).error().code, "not_trusted");
}

TEST_F(PolicyFiles, ProjectMayNotOpenInternalAddresses) {
  const std::string text = "version: 1\ninternal: [\"a.test:80 -> 127.0.0.1:80\"]\n";
  put("project/pinhole.yaml", text);
  EXPECT_THAT(
      gather({.project = at("project/pinhole.yaml"), .trusted_hash = "sha256:" + sha256_hex(text)})
          .error()
          .message,
      HasSubstr("internal"));
  put("session.yaml", text);
  EXPECT_TRUE(gather({.session = {at("session.yaml")}}));
}

/// A program in the place of QEMU.
class KvmProbe : public InFolder {
 protected:
  fs::path fake_qemu(const std::string& script) {
    put("qemu", "#!/bin/sh\necho run >> " + at("runs").string() + "\n" + script + "\n");
    fs::permissions(at("qemu"), fs::perms::owner_all);
    return at("qemu");
  }
  AcceleratorChoice choose(const std::string& script) {
    return choose_accelerator(fake_qemu(script), "/kernel", at("cache/kvm-probe"));
  }
  bool kvm_here() { return ::access("/dev/kvm", R_OK | W_OK) == 0; }
};

TEST_F(KvmProbe, BelievesAKernelThatBootedAndAsksOnce) {
  const auto choice = choose("exit 0");
  EXPECT_EQ(choice.accelerator, kvm_here() ? config::Accelerator::kvm : config::Accelerator::tcg);
  choose("exit 0");
  if (kvm_here()) EXPECT_EQ(sys::read_file(at("runs"), 100).value(), "run\n");
}

TEST_F(KvmProbe, FallsBackWithTheReason) {
  const auto choice = choose("echo 'failed to initialize kvm' >&2; exit 1");
  EXPECT_EQ(choice.accelerator, config::Accelerator::tcg);
  EXPECT_THAT(choice.reason, HasSubstr("using software emulation"));
  if (kvm_here()) EXPECT_THAT(choice.reason, HasSubstr("failed to initialize kvm"));
}

}  // namespace
}  // namespace pinhole::preflight
