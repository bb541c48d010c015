// SPDX-License-Identifier: Apache-2.0
#include "image/build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "image/archive_sources.h"
#include "image/recipe.h"
#include "image/step.h"
#include "image/test_store.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Build {
  TestStore store;
  sys::TempDir inputs = sys::TempDir::make().value();
  Build() {
    write("r.yaml", "version: 1\nname: small\nsuite: bookworm\npackages: [a]\ninit: init\n");
    write("init", "#!/bin/sh\n");
    write("agent",
          "\x7f"
          "ELF agent");
  }
  void write(std::string_view name, std::string_view text) const {
    EXPECT_TRUE(sys::write_file_atomic(inputs.path() / name, text));
  }
  [[nodiscard]] BuildOptions options() const {
    return {.store = store.path(),
            .recipe = inputs.path() / "r.yaml",
            .agent = inputs.path() / "agent",
            .wait = std::chrono::seconds(0)};
  }
  [[nodiscard]] std::string key() const {
    return cache_key(load_recipe(inputs.path() / "r.yaml").value().sha256,
                     sys::sha256_file(inputs.path() / "agent").value());
  }
};

TEST(CacheKey, HoldsRecipeAgentAndBuilder) {
  EXPECT_EQ(cache_key("r", "a"), cache_key("r", "a"));
  EXPECT_NE(cache_key("r", "a"), cache_key("r2", "a"));
  EXPECT_NE(cache_key("r", "a"), cache_key("r", "a2"));
}

TEST(BuildImage, UsesWhatIsThereWithTheSameKey) {
  const Build build;
  build.store.add("small", build.key());
  const BuildResult result = build_image(build.options()).value();
  EXPECT_TRUE(result.cached);
  EXPECT_THAT(result.notes, IsEmpty());
  EXPECT_EQ(result.image.folder, build.store.path() / "small");
}

TEST(BuildImage, PointsOutTheAgeOfWhatIsThere) {
  const Build build;
  const auto old = std::chrono::system_clock::now() - std::chrono::days(45);
  build.store.add("small", build.key(), format_time(old));
  EXPECT_THAT(build_image(build.options()).value().notes,
              ElementsAre(HasSubstr("image \"small\" is 45 days old")));
}

TEST(BuildImage, RefusesWhileAnotherBuildRuns) {
  const Build build;
  const auto lock = lock_image(build.store.path(), "small").value();
  const Error error = build_image(build.options()).error();
  EXPECT_EQ(error.message, "cannot build image \"small\": another pinhole builds it now");
  EXPECT_EQ(error.code, "image_busy");
}

TEST(BuildImage, NeverReplacesAnImageThatWasImported) {
  const Build build;
  build.store.add("small", build.key());
  Manifest manifest = load_image(build.store.path(), "small").value().manifest;
  manifest.imported = Imported{.file_name = "debian.qcow2",
                               .sha256 = std::string(64, 'a'),
                               .format = "qcow2",
                               .layout = "Debian",
                               .boot = "GRUB",
                               .root = "ext4",
                               .agent_sha256 = std::string(64, 'a')};
  manifest.initrd = {};  // imported images have none
  const fs::path file = build.store.path() / "small/manifest.yaml";
  const std::string text = print_manifest(manifest);
  ASSERT_TRUE(sys::write_file_atomic(file, text));
  BuildOptions options = build.options();
  for (const bool refresh : {false, true}) {
    options.refresh = refresh;
    const auto built = build_image(options);
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().code, "image_is_imported");
  }
  EXPECT_EQ(sys::read_file(file, 65536).value(), text);
}

TEST(BuildImage, StopsWaitingWhenTheUserGivesUp) {
  const Build build;
  const auto lock = lock_image(build.store.path(), "small").value();
  auto pipe = sys::make_pipe().value();
  pipe.second.reset();  // readable: the end
  BuildOptions options = build.options();
  options.wait = std::chrono::hours(1);
  options.cancel_fd = pipe.first.get();
  const Error error = build_image(options).error();
  EXPECT_EQ(error.code, "cancelled");
  EXPECT_EQ(error.exit_status, 130);
}

TEST(BuildImage, RefusesAnAgentThatIsNoProgram) {
  const Build build;
  build.write("agent", "<html>not found</html>");
  EXPECT_THAT(build_image(build.options()).error().message, HasSubstr("is no ELF program"));
  fs::remove(build.inputs.path() / "agent");
  EXPECT_THAT(build_image(build.options()).error().message,
              HasSubstr("cannot build an image without the guest's agent: cannot open"));
}

Step shell(std::string script) {
  return {.doing = "try", .program = "sh", .args = {"-c", std::move(script)}};
}

TEST(RunStep, EndsWithWhatItsWatchSays) {
  int asked = 0;
  const StepContext context{.watch = [&]() -> Result<void> {
    if (++asked < 3) return {};
    return fail(Error{.message = "the disk is full", .code = "full"});
  }};
  const auto started = std::chrono::steady_clock::now();
  const auto done = run_step(shell("while :; do :; done"), context);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, "full");
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(30));
  asked = -1000;
  EXPECT_TRUE(run_step(shell("true"), context));
}

TEST(RunStep, HandsOutEachLine) {
  std::vector<std::string> lines;
  const StepContext context{.on_line = [&](std::string_view line) { lines.emplace_back(line); }};
  EXPECT_TRUE(run_step(shell("echo one; echo two >&2; printf three"), context));
  EXPECT_THAT(lines, ElementsAre("one", "two", "three"));
}

TEST(RunStep, ExplainsAFailureByTheProgramsOwnComplaints) {
  const Error error =
      run_step(shell("echo noise; echo 'E: no such \033[31mpackage'; exit 3"), {}).error();
  EXPECT_EQ(error.message, "cannot try: sh exited with status 3");
  EXPECT_THAT(error.details, ElementsAre("E: no such \\x1b[31mpackage"));
}

TEST(RunStep, NamesAMissingProgram) {
  EXPECT_EQ(run_step({.doing = "try", .program = "no-such-program"}, {}).error().message,
            "cannot try: no-such-program is missing");
}

TEST(RunStep, EndsAtOnceWhenCancelled) {
  auto pipe = sys::make_pipe().value();
  StepContext context{.cancel_fd = pipe.first.get()};
  context.on_line = [&](std::string_view) { pipe.second.reset(); };
  Step step = shell("echo started; exec sleep 1000");
  step.sees = {{.path = "/bin/sleep", .access = sys::Visible::Access::execute}};
  const Error error = run_step(step, context).error();
  EXPECT_EQ(error.code, "cancelled");
  EXPECT_EQ(error.exit_status, 130);
}

/// A step whose program was broken into by the image that it works on.
class StepUnderAttack : public testing::Test {
 protected:
  StepUnderAttack() {
    EXPECT_TRUE(sys::write_file_atomic(at("secret"), "the secret"));
    EXPECT_TRUE(sys::write_file_atomic(at("source"), "the source"));
    EXPECT_TRUE(fs::create_directory(at("target")));
    listener_ = sys::listen_unix(at("socket")).value();
  }
  fs::path at(const char* name) { return fs::canonical(folder_.path()) / name; }
  std::string says(const char* script, std::vector<sys::Visible> more = {}) {
    std::string out;
    const StepContext context{.on_line = [&](std::string_view line) { out.append(line) += "\n"; }};
    Step step{.doing = "try",
              .program = "/usr/bin/python3",
              .args = {"-c", script, at("").string()},
              .sees = {{.path = at("source")},
                       {.path = at("target"), .access = sys::Visible::Access::write}}};
    step.sees.insert(step.sees.end(), more.begin(), more.end());
    const auto done = run_step(step, context);
    return done ? out : done.error().message;
  }
  sys::TempDir folder_ = sys::TempDir::make().value();
  Fd listener_;
};

constexpr const char* kAttack = R"(import os, socket, sys
folder = sys.argv[1]
def attempt(name, action):
    try: print(name, action() or "done")
    except OSError as error: print(name, "refused")
def connect(family, address):
    s = socket.socket(family); s.settimeout(5)
    try: s.connect(address)
    except ConnectionRefusedError: pass
attempt("source", lambda: open(folder + "source").read())
attempt("target", lambda: open(folder + "target/new", "w").close())
attempt("secret", lambda: open(folder + "secret").read())
attempt("overwrite", lambda: open(folder + "source", "w").close())
attempt("unix", lambda: connect(socket.AF_UNIX, folder + "socket"))
attempt("tcp", lambda: connect(socket.AF_INET, ("127.0.0.1", 9)))
)";

TEST_F(StepUnderAttack, ReachesItsSourceAndTargetAndNothingElse) {
  EXPECT_EQ(says(kAttack),
            "source the source\ntarget done\nsecret refused\noverwrite refused\nunix refused\n"
            "tcp refused\n");
  EXPECT_TRUE(fs::exists(at("target/new")));
}

TEST_F(StepUnderAttack, TheSameProgramCouldDoAllOfItUnconfined) {
  sys::Command command{.program = "/usr/bin/python3", .args = {"-c", kAttack, at("").string()}};
  EXPECT_EQ(sys::run(std::move(command), {}).value().out,
            "source the source\ntarget done\nsecret the secret\noverwrite done\nunix done\n"
            "tcp done\n");
}

TEST(DebianSources, TakesThisReleasesArchivesOnly) {
  constexpr std::string_view kIndex =
      "http://deb.debian.org/debian/|bookworm|main|Debian\n"
      "http://deb.debian.org/debian/|bookworm|contrib|Debian\n"
      "http://deb.debian.org/debian-security/|bookworm-security|main|Debian\n"
      "http://deb.debian.org/debian/|bookworm-backports|main|Debian Backports\n"
      "https://deb.example.com/|nodistro|main|Example\n"
      "file:/srv/x|bookworm|main|Debian\n"
      "http://x y|bookworm|main|Debian\n"
      "http://deb.debian.org/debian/|bookworm|main|Debian\n";
  EXPECT_THAT(debian_sources(kIndex, "bookworm"),
              ElementsAre("deb http://deb.debian.org/debian/ bookworm main",
                          "deb http://deb.debian.org/debian-security/ bookworm-security main"));
  EXPECT_THAT(debian_sources(kIndex, "trixie"), IsEmpty());
}

TEST(ReleaseDate, IsTheNewestOfAll) {
  EXPECT_EQ(newest_release_date({"Origin: Debian\nDate: Sat, 06 Sep 2025 10:15:04 UTC\n",
                                 "Date: Sat, 15 Nov 2025 09:12:34 UTC\nAcquire-By-Hash: yes\n",
                                 "no date", "Date: nonsense\n"}),
            "2025-11-15T09:12:34.000Z");
  EXPECT_EQ(newest_release_date({}), "");
  for (const std::string year : {"1052", "1969", "2201", "9999"})
    EXPECT_EQ(newest_release_date({"Date: Sat, 01 Nov " + year + " 02:00:00 UTC\n"}), "") << year;
}

TEST(InstalledPackages, ListsOnlyWhatIsInstalled) {
  constexpr std::string_view kStatus =
      "Package: git\nStatus: install ok installed\nVersion: 1:2.39.5\n\n"
      "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
      "Package: apt\nStatus: install ok installed\nDescription: x\n Version: 9\nVersion: 2.6.1\n";
  EXPECT_THAT(installed_packages(kStatus), ElementsAre("apt=2.6.1", "git=1:2.39.5"));
}

}  // namespace
}  // namespace pinhole::image
