// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Access = Visible::Access;

/// A folder with something of each kind, outside what the child is shown unless a test says so.
class Confined : public testing::Test {
 protected:
  Confined() {
    for (const char* name : {"shown", "hidden", "writable"}) fs::create_directory(at(name));
    EXPECT_TRUE(write_file_atomic(at("shown/file"), "shown"));
    EXPECT_TRUE(write_file_atomic(at("hidden/secret"), "secret"));
    view_.paths = runtime_libraries();
    for (const char* program : {"/bin/sh", "/bin/cat", "/bin/ls", "/bin/touch"})
      view_.paths.push_back({.path = program, .access = Access::execute});
    view_.paths.push_back({.path = at("shown")});
    view_.paths.push_back({.path = at("writable"), .access = Access::write});
  }
  fs::path at(const char* name) { return root_ / name; }
  /// What a shell script says in there, errors included.
  std::string says(std::string script, Isolation isolation) {
    Command command{.program = "/bin/sh",
                    .args = {"-c", "exec 2>&1; " + std::move(script)},
                    .environment = {{"PATH", "/bin"}},
                    .isolation = std::move(isolation)};
    const auto output = run(std::move(command), {.time = std::chrono::seconds(20)});
    return output ? std::string(trim(output->out)) : "error: " + output.error().message;
  }
  Isolation everything() {
    return {.user = true,
            .network = true,
            .ipc = true,
            .pid = true,
            .root = view_,
            .landlock = LandlockRules{.view = view_}};
  }
  Isolation only_landlock() { return {.landlock = LandlockRules{.view = view_}}; }
  Isolation only_namespaces() {
    return {.user = true, .network = true, .ipc = true, .pid = true, .root = view_};
  }

  TempDir folder_ = TempDir::make().value();
  fs::path root_ = fs::canonical(folder_.path());
  FileView view_;
};

TEST_F(Confined, SeesWhatItIsShownAndNothingElse) {
  const std::string script = fmt::format(
      "cat {0}/shown/file; echo; cat {0}/hidden/secret; ls {0}; touch {0}/shown/new; touch "
      "{0}/writable/new && echo made; cat /etc/passwd",
      root_.string());
  EXPECT_THAT(says(script, {}), AllOf(HasSubstr("shown"), HasSubstr("secret"), HasSubstr("root:")));
  fs::remove(at("shown/new"));
  fs::remove(at("writable/new"));
  for (const Isolation& isolation : {everything(), only_namespaces(), only_landlock()}) {
    EXPECT_THAT(says(script, isolation),
                AllOf(HasSubstr("shown"), HasSubstr("made"), Not(HasSubstr("root:")),
                      Not(HasSubstr("secret\n"))));
    EXPECT_FALSE(fs::exists(at("shown/new")));
    EXPECT_TRUE(fs::remove(at("writable/new")));
  }
  EXPECT_EQ(says("ls / ; ls " + root_.string(), only_namespaces()),
            "bin\ndev\netc\nlib\nlib64\nproc\ntmp\nusr\nshown\nwritable");
}

TEST_F(Confined, SeesNoOtherProcessAndIsTheFirstOfItsOwn) {
  EXPECT_EQ(says("echo $$ /proc/[0-9]*", only_namespaces()), "1 /proc/1");
  EXPECT_EQ(says("echo $$ /proc/[0-9]*", everything()), "1 /proc/[0-9]*");  // may not even list it
  EXPECT_THAT(says(fmt::format("kill -0 {} && echo reached", ::getpid()), everything()),
              Not(HasSubstr("reached")));
  EXPECT_EQ(says(fmt::format("kill -0 {} && echo reached", ::getpid()), {}), "reached");
}

TEST_F(Confined, MakesNoFileInItsRootAndExecutesNothingWritable) {
  EXPECT_THAT(says("touch /new", everything()), HasSubstr("touch: cannot touch '/new'"));
  const std::string script =
      fmt::format("cat /bin/true > {0}/writable/t; {0}/writable/t && echo ran", root_.string());
  view_.paths.push_back({.path = "/bin/true"});
  EXPECT_THAT(says(script, everything()), Not(HasSubstr("ran")));
}

TEST_F(Confined, PinnedPathThatBecameALinkIsAnError) {
  fs::create_directory_symlink(at("hidden"), at("link"));
  view_.paths.push_back({.path = at("link"), .pinned = true});
  EXPECT_THAT(says("true", everything()), HasSubstr("opening a path that it is to see"));
  view_.paths.back() = {.path = at("hidden"), .pinned = true};
  EXPECT_EQ(says("cat " + at("hidden/secret").string(), everything()), "secret");
}

/// Each attack prints "GOT n"; its twin on what is not guarded prints "ok n".
TEST_F(Confined, GuardedPathsCanBeReadOnlyAndKeepTheirNames) {
  for (const char* name : {"writable/sub/.git/hooks", "writable/sub/.git/objects"})
    fs::create_directories(at(name));
  EXPECT_TRUE(write_file_atomic(at("writable/sub/.git/config"), "mine"));
  EXPECT_TRUE(write_file_atomic(at("writable/sub/.git/hooks/h"), "mine"));
  EXPECT_TRUE(write_file_atomic(at("writable/.envrc"), "mine"));
  fs::create_symlink(at("shown"), at("writable/link"));
  for (const char* program : {"/bin/mv", "/bin/ln", "/bin/rm", "/bin/rmdir", "/bin/chmod"})
    view_.paths.push_back({.path = program, .access = Access::execute});
  for (Visible& visible : view_.paths) {
    if (visible.path == at("writable"))
      visible.guarded = {"sub/.git/config", "sub/.git/hooks", ".envrc", "gone", "link",
                         "link/file"};
  }
  const std::string attacks = R"(
    echo x > .envrc && echo GOT 1;            echo x > .env && echo ok 1
    echo x >> sub/.git/config && echo GOT 2;  echo x > sub/.git/HEAD && echo ok 2
    echo x > sub/.git/hooks/new && echo GOT 3
    echo x > sub/.git/objects/new && echo ok 3
    mv sub/.git sub/g && echo GOT 4;          mv sub/.git/objects sub/.git/o && echo ok 4
    mv sub other && echo GOT 5
    rm -f sub/.git/config && echo GOT 6;      rm sub/.git/HEAD && echo ok 6
    mv .env .envrc && echo GOT 7;             mv .env .env2 && echo ok 7
    ln .envrc hard && echo GOT 8;             ln .env2 hard && echo ok 8
    ln sub/.git/config sub/.git/c && echo GOT 9
    ln .env2 sub/.git/hooks/h2 && echo GOT 10
    chmod 777 .envrc && echo GOT 11;          chmod 700 .env2 && echo ok 11
    rm sub/.git/hooks/h && echo GOT 12
    mv sub/.git/hooks sub/.git/h2 && echo GOT 13
    rmdir sub && echo GOT 14
    cat .envrc sub/.git/config sub/.git/hooks/h)";
  const std::string said =
      says(fmt::format("cd {}; {{ {}\n}} 2>/dev/null", at("writable").string(), attacks),
           only_namespaces());
  EXPECT_EQ(said, "ok 1\nok 2\nok 3\nok 4\nok 6\nok 7\nok 8\nok 11\nmineminemine");
  EXPECT_EQ(read_file(at("writable/.envrc"), 10).value(), "mine");
}

TEST_F(Confined, OverlayTakesWhatIsWrittenAndLeavesTheFolderAsItIs) {
  for (const char* program : {"/bin/rm", "/bin/mkdir", "/bin/mv", "/bin/chmod"})
    view_.paths.push_back({.path = program, .access = Access::execute});
  for (const char* name : {"upper", "work", "writable/old"}) fs::create_directory(at(name));
  ASSERT_TRUE(write_file_atomic(at("writable/kept"), "kept\n"));
  ASSERT_TRUE(write_file_atomic(at("writable/gone"), "gone\n"));
  ASSERT_TRUE(write_file_atomic(at("writable/old/file"), "old\n"));
  Visible& shown = *std::ranges::find(view_.paths, at("writable"), &Visible::path);
  shown.pinned = true;
  shown.overlay = {.upper = at("upper"), .work = at("work")};
  shown.inside = "/workspace";
  EXPECT_EQ(
      says("cd /workspace && echo new > new && echo more >> kept && rm gone && cat kept && ls",
           only_namespaces()),
      "kept\nmore\nkept\nnew\nold");
  // Again, as after the end of who had it before.
  EXPECT_EQ(
      says("cd /workspace && cat new kept && rm -r old && mkdir old && ls old", only_namespaces()),
      "new\nkept\nmore");
  EXPECT_EQ(read_file(at("writable/kept"), 100).value(), "kept\n");
  EXPECT_EQ(read_file(at("writable/gone"), 100).value(), "gone\n");
  EXPECT_EQ(read_file(at("writable/old/file"), 100).value(), "old\n");
  EXPECT_FALSE(fs::exists(at("writable/new")));
  EXPECT_EQ(read_file(at("upper/kept"), 100).value(), "kept\nmore\n");
  EXPECT_TRUE(fs::is_character_file(fs::symlink_status(at("upper/gone"))));
  // Seen together, and written by nobody.
  shown.overlay->work.clear();
  shown.access = Access::read;
  EXPECT_EQ(says("cd /workspace && ls && echo no > no; ls old", only_namespaces()),
            "kept\nnew\nold\n/bin/sh: 1: cannot create no: Read-only file system");
}

TEST_F(Confined, OverlayNeverMovesAFolderOfTheLowerLayerByAnotherName) {
  view_.paths.push_back({.path = "/bin/mv", .access = Access::execute});
  for (const char* name : {"upper", "work", "writable/old"}) fs::create_directory(at(name));
  ASSERT_TRUE(write_file_atomic(at("writable/old/file"), "old\n"));
  Visible& shown = *std::ranges::find(view_.paths, at("writable"), &Visible::path);
  shown.overlay = {.upper = at("upper"), .work = at("work")};
  // mv copies then (EXDEV): all of the folder is in the upper layer, and no note that leads elsewhere.
  EXPECT_THAT(
      says("cd " + at("writable").string() + " && mv old moved; cat moved/file", only_namespaces()),
      HasSubstr("old"));
  EXPECT_EQ(read_file(at("upper/moved/file"), 100).value(), "old\n");
  EXPECT_TRUE(fs::exists(at("writable/old/file")));
}

TEST_F(Confined, OverlayOnAPathThatBecameALinkIsAnError) {
  for (const char* name : {"real", "work"}) fs::create_directory(at(name));
  fs::create_symlink(at("real"), at("upper"));
  Visible& shown = *std::ranges::find(view_.paths, at("writable"), &Visible::path);
  shown.pinned = true;
  shown.overlay = {.upper = at("upper"), .work = at("work")};
  EXPECT_THAT(says("ls", only_namespaces()), HasSubstr("opening the upper layer"));
}

TEST_F(Confined, MissingPathIsAnErrorUnlessOptional) {
  view_.paths.push_back({.path = "/nowhere/at/all", .optional = true});
  EXPECT_EQ(says("echo fine", everything()), "fine");
  view_.paths.back().optional = false;
  EXPECT_THAT(says("echo fine", everything()),
              HasSubstr("opening a path that it is to see: No such file or directory"));
}

TEST_F(Confined, ResourceLimitsHold) {
  Command command{.program = "/bin/sh", .args = {"-c", "ulimit -n; ulimit -c"}};
  command.limits = {{RLIMIT_NOFILE, 77}};
  EXPECT_EQ(run(command, {})->out, "77\n0\n");
}

TEST(HostConfinement, OfThisHostIsFull) {
  const HostConfinement host = probe_host_confinement().value();
  EXPECT_TRUE(host.namespaces) << host.namespaces_problem;
  EXPECT_EQ(to_string(rate(host).rating), "full");
}

TEST(HostConfinement, RatesWhatIsMissing) {
  const HostConfinement all{.namespaces = true, .landlock_abi = 7, .seccomp = true};
  EXPECT_THAT(rate(all).missing, IsEmpty());
  HostConfinement host = all;
  host.landlock_abi = 1;  // of an old kernel: what it lacks, the namespaces hold
  EXPECT_EQ(rate(host).rating, Rating::full);
  host.landlock_abi = 0;
  EXPECT_EQ(rate(host).rating, Rating::reduced);
  host = all;
  host.namespaces = false;
  EXPECT_EQ(rate(host).rating, Rating::weak);
  EXPECT_THAT(rate(host).missing.at(0), HasSubstr("no user namespaces"));
  host.landlock_abi = 3;
  EXPECT_EQ(rate(host).rating, Rating::weak);
  host = all;
  host.seccomp = false;
  EXPECT_EQ(rate(host).rating, Rating::weak);
}

TEST(HostConfinement, LeavesOutWhatTheHostRefuses) {
  const Isolation wanted{
      .user = true, .network = true, .root = FileView{}, .landlock = LandlockRules{}};
  const Isolation left = available(wanted, {.namespaces = false}).value();
  EXPECT_FALSE(left.user || left.network || left.root);
  EXPECT_TRUE(left.landlock);
  EXPECT_TRUE(available(wanted, {.namespaces = true})->root);
}

TEST(HostConfinement, ProcessThatNeedsARootOfItsOwnIsNotStartedWithoutOne) {
  const HostConfinement none{.namespaces = false};
  Isolation mapped = apart({});
  mapped.uid_map = {{.inside = 0, .outside = 100000, .count = 1}};
  EXPECT_FALSE(available(mapped, none));
  EXPECT_FALSE(available(apart({.paths = {{.path = "/home", .inside = "/workspace"}}}), none));
  EXPECT_FALSE(available(
      apart(
          {.paths = {{.path = "/home", .overlay = Visible::Overlay{.upper = "/u", .work = "/w"}}}}),
      none));
  EXPECT_TRUE(available(apart({.paths = {{.path = "/home"}}}), none));
}

}  // namespace
}  // namespace pinhole::sys
