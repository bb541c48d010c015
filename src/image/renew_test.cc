// SPDX-License-Identifier: Apache-2.0
// A changed agent in a stored image, on a real ext4 in a real (small) disk.
#include "image/renew.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "image/build.h"
#include "image/test_store.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::string elf(std::string_view rest) {
  return "\x7f"
         "ELF " +
         std::string(rest);
}

std::string output_of(const char* program, std::vector<std::string> args) {
  sys::Command command{.program = program, .args = std::move(args)};
  const auto ran = sys::run(std::move(command), {}).value();
  return ran.out + ran.err;
}

/// A store with the image "small", whose root file system holds the agent and one file more.
class RenewAgent : public testing::Test {
 protected:
  RenewAgent() {
    write("r.yaml",
          "version: 1\nname: small\nsuite: bookworm\ndisk_size: 512MiB\npackages: [a]\n"
          "init: init\n");
    write("init", "#!/bin/sh\n");
    write("agent", elf("the old agent"));
    layout_ = plan_layout(512 * kMiB, 64 * kMiB).value();
    make_image();
  }
  void write(std::string_view name, std::string_view text) const {
    EXPECT_TRUE(sys::write_file_atomic(inputs_.path() / name, text));
  }
  [[nodiscard]] BuildOptions options() const {
    return {.store = store_.path(),
            .recipe = inputs_.path() / "r.yaml",
            .agent = inputs_.path() / "agent",
            .wait = std::chrono::seconds(0)};
  }
  [[nodiscard]] fs::path disk() const { return store_.path() / "small/disk.raw"; }
  [[nodiscard]] std::string file_system() const {
    return fmt::format("{}?offset={}", disk().string(), layout_.root_offset);
  }
  [[nodiscard]] std::string debugfs(const std::string& request) const {
    return output_of("/usr/sbin/debugfs", {"-R", request, file_system()});
  }
  void make_image() const {
    const fs::path root = inputs_.path() / "root";
    fs::create_directories(root / "usr/lib/pinhole");
    ASSERT_TRUE(
        sys::write_file_atomic(root / "usr/lib/pinhole/pinhole-agent", elf("the old agent")));
    ASSERT_TRUE(sys::write_file_atomic(root / "other", "stays"));
    store_.add("small");
    fs::remove(disk());
    {
      const Fd file(::open(disk().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(layout_.disk_size)), 0);
    }
    output_of("/usr/sbin/mke2fs",
              {"-q", "-F", "-t", "ext4", "-O", "^has_journal", "-N", "64", "-E",
               fmt::format("offset={}", layout_.root_offset), "-d", root.string(), disk().string(),
               fmt::format("{}k", layout_.root_size / 1024)});
    update_manifest();
  }
  /// As if this disk had been built from this recipe with this agent.
  void update_manifest() const {
    Manifest manifest = load_image(store_.path(), "small").value().manifest;
    manifest.disk = record_file(disk()).value();
    manifest.built = format_time(std::chrono::system_clock::now() - std::chrono::days(3));
    manifest.builder = kBuilderVersion;
    manifest.provenance.recipe_sha256 = load_recipe(inputs_.path() / "r.yaml").value().sha256;
    manifest.provenance.agent_sha256 = sys::sha256_file(inputs_.path() / "agent").value();
    manifest.key = cache_key(manifest.provenance.recipe_sha256, manifest.provenance.agent_sha256);
    EXPECT_TRUE(
        sys::write_file_atomic(store_.path() / "small/manifest.yaml", print_manifest(manifest)));
  }
  [[nodiscard]] Manifest stored() const {
    return load_image(store_.path(), "small").value().manifest;
  }

  TestStore store_;
  sys::TempDir inputs_ = sys::TempDir::make().value();
  Layout layout_;
};

TEST_F(RenewAgent, ChangesTheAgentAndNothingElse) {
  const Manifest before = stored();
  write("agent", elf(std::string(3 * kMiB, 'n')));
  const BuildResult result = build_image(options()).value();
  EXPECT_TRUE(result.renewed);
  EXPECT_FALSE(result.cached);
  EXPECT_THAT(result.notes, IsEmpty());

  Manifest expected = before;
  expected.disk = stored().disk;
  expected.key = cache_key(before.provenance.recipe_sha256,
                           sys::sha256_file(inputs_.path() / "agent").value());
  expected.provenance.agent_sha256 = sys::sha256_file(inputs_.path() / "agent").value();
  EXPECT_EQ(stored(), expected);
  EXPECT_NE(stored().disk.sha256, before.disk.sha256);
  EXPECT_TRUE(check_image(result.image, CheckDepth::full));

  EXPECT_THAT(debugfs("cat /usr/lib/pinhole/pinhole-agent"), HasSubstr(elf("nnnn")));
  EXPECT_THAT(debugfs("stat /usr/lib/pinhole/pinhole-agent"), HasSubstr("Mode:  0755"));
  EXPECT_THAT(debugfs("cat /other"), HasSubstr("stays"));
  EXPECT_THAT(output_of("/usr/sbin/e2fsck", {"-fn", file_system()}),
              HasSubstr("Pass 5: Checking group summary information\n"));
  struct stat info{};
  ASSERT_EQ(::stat(disk().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0400U);
}

TEST_F(RenewAgent, IsDoneOnce) {
  write("agent", elf("the new agent"));
  ASSERT_TRUE(build_image(options()).value().renewed);
  const BuildResult again = build_image(options()).value();
  EXPECT_TRUE(again.cached);
  EXPECT_FALSE(again.renewed);
}

TEST_F(RenewAgent, LeavesTheDiskThatMachinesStandOn) {
  const Fd open(::open(disk().c_str(), O_RDONLY | O_CLOEXEC));
  const std::string before = sys::sha256_file(disk()).value();
  write("agent", elf("the new agent"));
  ASSERT_TRUE(build_image(options()).value().renewed);
  EXPECT_EQ(sys::sha256_file(fmt::format("/proc/self/fd/{}", open.get())).value(), before);
}

TEST_F(RenewAgent, EndsWithTheImageAsItWasWhenCancelled) {
  const std::string before = sys::sha256_file(disk()).value();
  write("agent", elf("the new agent"));
  auto pipe = sys::make_pipe().value();
  pipe.second.reset();  // readable: the end
  BuildOptions cancelled = options();
  cancelled.cancel_fd = pipe.first.get();
  EXPECT_EQ(build_image(cancelled).error().code, "cancelled");
  EXPECT_EQ(sys::sha256_file(disk()).value(), before);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(store_.path()))
    left.push_back(entry.path().filename().string());
  EXPECT_THAT(left, testing::UnorderedElementsAre("small", ".lock-small"));
}

TEST_F(RenewAgent, RefusesAFileSystemThatDebugfsCannotWrite) {
  const TestStore other;
  const Staging staging{.folder = other.path()};
  fs::create_directories(staging.out());
  fs::create_directories(staging.temporary());
  EXPECT_TRUE(sys::write_file_atomic(staging.out() / "disk.raw", std::string(2 * kMiB, 'x')));
  EXPECT_THAT(replace_agent(staging, inputs_.path() / "agent", kMiB, {}).error().message,
              testing::AnyOf(HasSubstr("while reading back what debugfs wrote"),
                             HasSubstr("cannot put the agent into the image")));
}

TEST_F(RenewAgent, IsNotForAnotherRecipe) {
  write("init", "#!/bin/sh\ntrue\n");
  write("agent", elf("the new agent"));
  auto pipe = sys::make_pipe().value();
  pipe.second.reset();  // so that the build ends where it would start
  BuildOptions cancelled = options();
  cancelled.cancel_fd = pipe.first.get();
  std::vector<Stage> stages;
  cancelled.progress = [&](const Progress& progress) { stages.push_back(progress.stage); };
  EXPECT_FALSE(build_image(cancelled));
  EXPECT_THAT(stages, testing::Not(testing::Contains(Stage::copying)));
}

}  // namespace
}  // namespace pinhole::image
