// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "artifact/test_artifacts.h"
#include "base/sha256.h"
#include "image/manifest.h"
#include "image/store.h"
#include "preflight/kvm_probe.h"
#include "preflight/policy_files.h"
#include "preflight/prepare.h"
#include "preflight/project_path.h"
#include "preflight/subordinate_ids.h"
#include "preflight/test_files.h"
#include "preflight/tools.h"
#include "preflight/workspace.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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
  EXPECT_FALSE(check("state", true));
  fs::create_directory_symlink(at("home"), at("link"));
  EXPECT_FALSE(check("link"));  // a link is where it leads
  EXPECT_THAT(check("nowhere").error().message, HasSubstr("No such file or directory"));
}

TEST_F(WorkspaceFolder, NeverHoldsPinholesOwnFilesWhoeverNamesIt) {
  config::Paths own = paths();
  own.state = at("home/.local/state/pinhole");
  own.config = at("home/.config/pinhole");
  put("home/.config/pinhole/trusted.yaml", "");
  put("home/.local/state/pinhole/reviews/x/upper/y", "");
  put("home/.local/share/x", "");
  for (const char* folder : {"home", "home/.config", "home/.config/pinhole", "home/.local",
                             "home/.local/state/pinhole/reviews/x"}) {
    const auto refused = check_workspace(at(folder), true, user(), own);
    ASSERT_FALSE(refused) << folder;
    EXPECT_THAT(refused.error().message, HasSubstr("Pinhole's own files are in")) << folder;
  }
  EXPECT_TRUE(check_workspace(at("home/.local/share"), true, user(), own));
  EXPECT_TRUE(check_workspace(at("home"), true, user(), paths()));  // they are elsewhere
}

TEST_F(WorkspaceFolder, PathMayNotSpeakToVirtiofsd) {
  for (const char* name : {"a,cache=always", "a\\,b", "a\nb", "a\x7f"}) {
    fs::create_directories(at(name));
    for (const bool explicitly : {false, true}) {
      const auto refused = check(name, explicitly);
      ASSERT_FALSE(refused) << name;
      EXPECT_THAT(refused.error().message,
                  HasSubstr("a comma, a backslash or a control character"));
      EXPECT_THAT(refused.error().fix, HasSubstr("rename the folder"));
    }
  }
  put("it's fine = naïve/x", "");
  EXPECT_TRUE(check("it's fine = naïve"));
  fs::create_directory_symlink(at("a,cache=always"), at("plain"));
  EXPECT_FALSE(check("plain"));  // a link is where it leads
}

TEST_F(WorkspaceFolder, LinksInItAreNotFollowedForCredentials) {
  put("elsewhere/.npmrc", "_authToken=x");
  put("project/x", "");
  fs::create_symlink(at("elsewhere/.npmrc"), at("project/.npmrc"));
  fs::create_symlink(at("elsewhere/.npmrc"), at("project/.env"));
  EXPECT_THAT(check("project").value().credentials, ElementsAre());
}

class PolicyFiles : public InFolder {
 protected:
  auto gather(PolicySources sources) { return gather_policies(paths(), sources); }
  std::string fix(PolicySources sources) { return gather(std::move(sources)).error().fix; }
};

TEST_F(PolicyFiles, NoFilesAllowNothingAndAreNoError) {
  EXPECT_TRUE(gather({}).value().files.empty());
}

TEST_F(PolicyFiles, ProjectCountsOnlyWhileItsContentIsTrusted) {
  const std::string text = "version: 1\nvm: {cpus: 3}\negress: {allow: [example.com]}\n";
  put("project/pinhole.yaml", text);
  const PolicySources sources{.project = at("project/pinhole.yaml")};
  const Error refused = gather(sources).error();
  EXPECT_EQ(refused.code, "not_trusted");
  EXPECT_THAT(refused.details,
              ElementsAre("it wants:", "machine    3 processors", "may reach  example.com"));
  PolicySources look = sources;
  look.only_look = true;
  EXPECT_FALSE(gather(look).value().project_is_trusted);
  PolicySources given = sources;
  given.trusted_hash = "sha256:" + sha256_hex(text);
  EXPECT_EQ(gather(given).value().project_request.cpus, 3U);
  put("project/pinhole.yaml", text + "# changed\n");
  EXPECT_EQ(gather(given).error().code, "not_trusted");
}

TEST_F(PolicyFiles, AProjectFileIsAPlainFileOrAnErrorThatSaysWhy) {
  const std::string text = "version: 1\n";
  const PolicySources sources{.project = at("project/pinhole.yaml"),
                              .trusted_hash = "sha256:" + sha256_hex(text)};
  put("project/real.yaml", text);
  put("project/pinhole.yaml", text);
  EXPECT_TRUE(gather(sources));
  const auto why = [&](const auto& plant) {
    fs::remove(at("project/pinhole.yaml"));
    plant(at("project/pinhole.yaml"));
    const auto refused = gather(sources);
    if (refused) return std::string("taken");
    EXPECT_EQ(refused.error().fix, "name another file: --config FILE, or go without: --no-config");
    return refused.error().message;
  };
  EXPECT_EQ(why([](const fs::path& at) { fs::create_symlink("real.yaml", at); }),
            "the project policy: cannot read pinhole.yaml in the shared folder: it is a symbolic "
            "link, or lies behind one");
  EXPECT_THAT(why([](const fs::path& at) { ::mkfifo(at.c_str(), 0600); }), HasSubstr("a FIFO"));
  EXPECT_THAT(why([](const fs::path& at) { fs::create_directory(at); }), HasSubstr("a folder"));
  EXPECT_THAT(why([this](const fs::path& at) {
                put("project/pinhole.yaml", "");
                fs::resize_file(at, std::uint64_t{10} << 30);
              }),
              HasSubstr("larger than 1048576 bytes"));
}

TEST_F(PolicyFiles, ASessionFileMayBeTheUsersLinkButNoGuests) {
  put("home/mine.yaml", "version: 1\n");
  put("work/mine.yaml", "version: 1\n");
  fs::create_symlink("mine.yaml", at("home/link.yaml"));
  fs::create_symlink("../home/mine.yaml", at("work/link.yaml"));
  const auto with = [&](const char* file) {
    return gather({.session = {at(file)}, .workspace = at("work")});
  };
  EXPECT_TRUE(with("home/link.yaml"));
  EXPECT_TRUE(with("work/mine.yaml"));
  EXPECT_THAT(with("work/link.yaml").error().message, HasSubstr("it is a symbolic link"));
  EXPECT_THAT(with("work/link.yaml").error().fix, HasSubstr("--policy FILE"));
}

TEST_F(PolicyFiles, EveryErrorHasAFix) {
  EXPECT_THAT(fix({.session = {at("missing.yaml")}}), HasSubstr("--policy FILE"));
  EXPECT_THAT(fix({.project = at("missing.yaml")}), HasSubstr("--config FILE"));
  const std::string correct = "correct the file, then: pinhole trust " + at("project").string();
  for (const char* text : {"version: 1\nvm: {cpus: many}\n", "a: b: c\n", "version: 1\negres: 1\n",
                           "version: 1\negress: {ask: [a.test]}\n"}) {
    put("project/pinhole.yaml", text);
    EXPECT_EQ(fix({.project = at("project/pinhole.yaml")}), correct) << text;
  }
  put("session.yaml", "version: 1\negres: 1\n");
  EXPECT_EQ(fix({.session = {at("session.yaml")}}), "correct the file");
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
    fs::create_directories(at("count"));
    put("qemu", "#!/bin/sh\necho run >> " + at("count/runs").string() + "\n" + script + "\n");
    fs::permissions(at("qemu"), fs::perms::owner_all);
    return at("qemu");
  }
  AcceleratorChoice choose(const std::string& script) {
    return probe_accelerator(fake_qemu(script), at("kernel"), at("cache/kvm-probe"), options_);
  }
  /// Again with the same program.
  AcceleratorChoice choose_again() {
    return probe_accelerator(at("qemu"), at("kernel"), at("cache/kvm-probe"), options_);
  }
  std::ptrdiff_t runs() {
    return std::ranges::count(sys::read_file(at("count/runs"), 100).value_or(""), '\n');
  }
  /// A shell script in QEMU's place needs a shell, and keeps count in the folder.
  ProbeOptions options_{
      .also_visible = {{.path = "/bin/sh", .access = sys::Visible::Access::execute},
                       {.path = "/bin/cat", .access = sys::Visible::Access::execute},
                       {.path = at("count"), .access = sys::Visible::Access::write}}};
};

TEST_F(KvmProbe, BelievesAKernelThatBootedAndAsksOnce) {
  EXPECT_EQ(choose("exit 0").accelerator, config::Accelerator::kvm);
  EXPECT_EQ(choose_again().reason, "KVM boots a kernel here");
  EXPECT_EQ(runs(), 1);
}

TEST_F(KvmProbe, KeepsARefusalWithItsReason) {
  choose("echo 'failed to initialize kvm' >&2; exit 1");
  const auto choice = choose_again();
  EXPECT_EQ(choice.accelerator, config::Accelerator::tcg);
  EXPECT_EQ(choice.reason,
            "KVM is present, but QEMU cannot use it (failed to initialize kvm); using software "
            "emulation");
  EXPECT_EQ(runs(), 1);
}

TEST_F(KvmProbe, KeepsThatAKernelHangs) {
  options_.deadline = std::chrono::milliseconds(200);
  choose("exec cat /dev/zero > /dev/null");
  EXPECT_EQ(choose_again().reason,
            "KVM is present, but a kernel hangs under it; using software emulation");
  EXPECT_LE(runs(), 1);  // none where the shell was too slow
}

TEST_F(KvmProbe, AccidentsAreToldAsWhatTheyAreAndNotKept) {
  EXPECT_EQ(choose("ulimit -t 1; while :; do :; done").reason  // as process 1 it cannot kill itself
            ,
            "KVM is present, but the trial was killed by SIGKILL; using software emulation");
  fs::permissions(at("qemu"), fs::perms::none);
  put("not-a-program", "");
  const auto broken = probe_accelerator(at("not-a-program"), at("kernel"), at("cache/kvm-probe"));
  EXPECT_THAT(broken.reason, testing::StartsWith("KVM is present, but it could not be tried ("));
  EXPECT_FALSE(fs::exists(at("cache/kvm-probe")));
  fs::permissions(at("qemu"), fs::perms::owner_all);
  EXPECT_EQ(choose("exit 0").accelerator, config::Accelerator::kvm);
}

TEST_F(KvmProbe, AsksAgainForAnotherQemuOrKernel) {
  choose("exit 1");
  put("kernel", "new");
  EXPECT_EQ(choose_again().accelerator, config::Accelerator::tcg);
  EXPECT_EQ(runs(), 2);
  EXPECT_EQ(choose("exit 0 # replaced").accelerator, config::Accelerator::kvm);
  EXPECT_EQ(runs(), 3);
}

TEST(SubordinateIds, AdviceOverlapsWithNobody) {
  EXPECT_EQ(next_free_ids("", ""), "100000-165535");
  EXPECT_EQ(next_free_ids("ana:100000:65536\n", "ana:100000:65536\n"), "200000-265535");
  EXPECT_EQ(next_free_ids("ana:100000:65536\n", "bob:200000:65536\n"), "300000-365535");
  EXPECT_EQ(next_free_ids("bob:300000:65536\nana:100000:65536\n", ""), "200000-265535");
  EXPECT_EQ(next_free_ids("ana:165535:1\n", ""), "200000-265535");
  EXPECT_EQ(next_free_ids("ana:165536:1\n", ""), "100000-165535");
  EXPECT_EQ(next_free_ids("rubbish\nana:x:1\nana:1\n:::\n", ""), "100000-165535");
  EXPECT_EQ(next_free_ids("all:0:4294967295\n", ""), std::nullopt);
  EXPECT_EQ(next_free_ids("all:100000:18446744073709551615\n", ""), std::nullopt);
}

class ProjectPath : public InFolder {
 protected:
  ProjectPath() {
    put("secret/key", "key");
    put("project/seed.yaml", "#cloud-config");
    put("project/sub/seed.yaml", "#cloud-config in sub");
  }
  auto resolve(std::string_view name) { return path_in_project(at("project"), name, "user_data"); }
  auto read(std::string_view name) {
    return read_in_project(at("project"), name, "user_data", 100);
  }
};

TEST_F(ProjectPath, StaysInTheFolder) {
  const fs::path project = fs::canonical(at("project"));
  EXPECT_EQ(resolve(".").value(), project);
  EXPECT_EQ(resolve("sub/../seed.yaml").value(), project / "seed.yaml");
  EXPECT_EQ(resolve((project / "sub").string()).value(), project / "sub");
  EXPECT_EQ(resolve("missing").value(), project / "missing");
  fs::create_directory_symlink(at("project"), at("by-link"));
  EXPECT_EQ(path_in_project(at("by-link"), ".", "workspace").value(), project);
}

TEST_F(ProjectPath, NeverLeavesItByNameOrLink) {
  fs::create_directory_symlink(at("secret"), at("project/link"));
  fs::create_symlink("../secret/key", at("project/file-link"));
  for (const std::string& name :
       {std::string(".."), std::string("../secret/key"), at("secret/key").string(),
        std::string("link"), std::string("link/key"), std::string("link/missing"),
        std::string("file-link"), std::string("../project-other")}) {
    const auto refused = resolve(name);
    ASSERT_FALSE(refused) << name;
    EXPECT_THAT(refused.error().message, HasSubstr("may not name what lies outside its folder"));
    EXPECT_THAT(refused.error().fix, HasSubstr("with a flag: --user-data /"));
    EXPECT_FALSE(read(name)) << name;
  }
}

TEST_F(ProjectPath, FilesAreReadThroughNoLinkAtAll) {
  EXPECT_EQ(read("seed.yaml").value(), "#cloud-config");
  EXPECT_EQ(read("sub/../sub/seed.yaml").value(), "#cloud-config in sub");
  fs::create_symlink("seed.yaml", at("project/inner-link"));
  EXPECT_THAT(read("inner-link").error().fix, HasSubstr("not a link"));
  EXPECT_FALSE(read("missing"));
  EXPECT_FALSE(read("sub"));
  ASSERT_EQ(::mkfifo(at("project/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(read("fifo"));
}

/// prepare_vm() as far as its checks get without a machine; it wants an ordinary user.
class Preparing : public InFolder {
 protected:
  void SetUp() override {
    if (::geteuid() == 0) GTEST_SKIP() << "prepare_vm() refuses root";
    put("secret/disk.raw", artifact::test::bootable_disk());
    put("secret/seed.yaml", "#cloud-config\n");
    put("project/x", "");
  }
  std::string refused(config::VmRequest request) {
    const auto prepared = prepare_vm(
        paths(), {.name = "web", .request = std::move(request), .folder = at("project")});
    EXPECT_FALSE(prepared);
    EXPECT_NE(prepared.error().fix, "");
    EXPECT_FALSE(fs::exists(at("state")));
    return prepared.error().message;
  }
};

TEST_F(Preparing, ProjectFileNamesNothingOutsideItsFolder) {
  EXPECT_THAT(refused(config::parse_vm_request("vm: {disk: ../secret/disk.raw}", "p").value()),
              HasSubstr("outside its folder: \"disk: ../secret/disk.raw\""));
  EXPECT_THAT(
      refused(config::parse_vm_request("vm: {user_data: ../secret/seed.yaml}", "p").value()),
      HasSubstr("outside its folder: \"user_data: ../secret/seed.yaml\""));
  put("project/disk.raw", artifact::test::bootable_disk());
  EXPECT_THAT(refused(config::parse_vm_request("vm: {disk: disk.raw, workspace: ..}", "p").value()),
              HasSubstr("outside its folder: \"workspace: ..\""));
}

TEST_F(Preparing, AFlagMayNameAnything) {
  // Gets past the disk, to the workspace that is missing.
  EXPECT_THAT(refused({.disk = at("secret/disk.raw"), .workspace = at("missing")}),
              HasSubstr("as the workspace: No such file or directory"));
}

/// An image whose files nobody looks at.
void put_image(const std::filesystem::path& store, const std::string& name, bool has_kernel) {
  const image::FileRecord file{.sha256 = sha256_hex(name), .size = 1, .mtime_ns = 1};
  image::Manifest manifest{.name = name,
                           .format = "raw",
                           .architecture = "x86_64",
                           .built = "2026-01-01T00:00:00.000Z",
                           .builder = "import-1",
                           .key = file.sha256,
                           .disk = file};
  if (has_kernel) manifest.kernel = file;
  manifest.imported = image::Imported{.file_name = "x.raw",
                                      .sha256 = file.sha256,
                                      .format = "raw",
                                      .layout = "Debian",
                                      .boot = "GRUB",
                                      .root = "ext4",
                                      .agent_sha256 = file.sha256};
  ASSERT_TRUE(sys::make_private_dir(store / name));
  ASSERT_TRUE(
      sys::write_file_atomic(store / name / "manifest.yaml", image::print_manifest(manifest)));
}

TEST(TrialKernel, IsAnImagesOwnOrAnothersAndNeverOneThatIsNotThere) {
  const auto store = sys::TempDir::make().value();
  put_image(store.path(), "mine", false);
  ASSERT_TRUE(image::load_image(store.path(), "mine"));
  EXPECT_EQ(trial_kernel(store.path(), "mine"), std::nullopt);
  put_image(store.path(), "debian", true);
  put_image(store.path(), "zeta", true);
  EXPECT_EQ(trial_kernel(store.path(), "mine"), store.path() / "debian/vmlinuz");
  EXPECT_EQ(trial_kernel(store.path(), "zeta"), store.path() / "zeta/vmlinuz");
}

TEST_F(Preparing, AnErrorWhileWritingLeavesPlanAndPoliciesAsTheyWere) {
  if (!find_qemu()) GTEST_SKIP() << "no QEMU here";
  PrepareOptions options{.name = "web", .accelerator = AcceleratorWish::tcg};
  options.request.disk = at("secret/disk.raw");
  const auto prepare = [&](const std::string& policy) {
    options.policies.files = {{.layer = "session", .name = "p.yaml", .text = policy}};
    return prepare_vm(paths(), options);
  };
  const auto text = [&](const fs::path& name) {
    return sys::read_file(at("state/vms/web") / name, 1 << 20).value_or("none");
  };
  put("state/vms/other/x", "");
  fs::permissions(at("state"), fs::perms::owner_all);
  fs::permissions(at("state/vms"), fs::perms::owner_all);
  auto first = prepare("old");
  ASSERT_TRUE(first) << first.error().message;
  const std::string plan = text("plan.json");
  EXPECT_THAT(plan, HasSubstr("/vms/web/policy/0-session/p.yaml"));
  EXPECT_EQ(text("policy/0-session/p.yaml"), "old");

  fs::remove(at("state/vms/web/seed.iso"));
  fs::create_directory(at("state/vms/web/seed.iso"));  // nothing can be written over it
  options.request.cpus = 3;
  EXPECT_EQ(prepare("new").error().code, "already_running");
  // Who only looks has the lock for a moment, and that is waited for.
  const auto looks =
      sys::spawn(
          {.program = "/bin/sleep", .args = {"0.2"}, .descriptors = {{3, first->lock.get()}}})
          .value();
  first->lock.reset();
  EXPECT_NE(prepare("new").error().code, "already_running");
  EXPECT_EQ(text("plan.json"), plan);
  EXPECT_EQ(text("policy/0-session/p.yaml"), "old");
  EXPECT_FALSE(fs::exists(at("state/vms/web/policy.new")));

  fs::remove(at("state/vms/web/seed.iso"));
  ASSERT_TRUE(prepare("new"));
  EXPECT_THAT(text("plan.json"), HasSubstr("\"cpus\":3"));
  EXPECT_EQ(text("policy/0-session/p.yaml"), "new");
}

TEST_F(Preparing, GuardsTheWorkspaceAndTellsWhatARunLeftThatNobodyEnded) {
  if (!find_qemu() || !find_virtiofsd()) GTEST_SKIP() << "no QEMU or no virtiofsd here";
  PrepareOptions options{
      .name = "web", .workspace_explicit = true, .accelerator = AcceleratorWish::tcg};
  options.request.disk = at("secret/disk.raw");
  options.request.workspace = at("work");
  put("state/vms/other/x", "");
  for (const char* folder : {"state", "state/vms"})
    fs::permissions(at(folder), fs::perms::owner_all);
  put("work/.git/config", "[core]\n");
  const auto prepare = [&] {
    auto prepared = prepare_vm(paths(), options);
    EXPECT_TRUE(prepared) << prepared.error().message;
    return std::pair(prepared->plan.workspace()->guarded, prepared->notes);
  };
  using testing::ElementsAre;
  using testing::IsEmpty;
  EXPECT_THAT(prepare(), testing::Pair(ElementsAre(".git/config"), IsEmpty()));
  put("work/.envrc", "from the guest");
  EXPECT_THAT(prepare(), testing::Pair(ElementsAre(".git/config", ".envrc"),
                                       ElementsAre(HasSubstr("the host would execute these of"),
                                                   HasSubstr(".envrc"))));
  options.request.guard = config::GuardLevel::off;
  put("work/.mise.toml", "x");
  EXPECT_THAT(prepare(), testing::Pair(IsEmpty(), testing::SizeIs(2)));
  EXPECT_THAT(prepare(), testing::Pair(IsEmpty(), IsEmpty()));
}

TEST_F(Preparing, ANewVmThatCannotBeWrittenIsTakenAwayAgain) {
  if (!find_qemu()) GTEST_SKIP() << "no QEMU here";
  PrepareOptions options{.name = "web", .accelerator = AcceleratorWish::tcg};
  options.request.disk = at("secret/disk.raw");
  put("state/vms/web/seed.iso/in-the-way", "");
  for (const char* folder : {"state", "state/vms", "state/vms/web"})
    fs::permissions(at(folder), fs::perms::owner_all);
  EXPECT_FALSE(prepare_vm(paths(), options));
  EXPECT_FALSE(fs::exists(at("state/vms/web")));
}

}  // namespace
}  // namespace pinhole::preflight
