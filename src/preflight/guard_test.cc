// SPDX-License-Identifier: Apache-2.0
#include "preflight/guard.h"

#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "preflight/guard_rules.h"
#include "preflight/test_files.h"

namespace pinhole::preflight {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr const char* kPlainConfig = "[core]\n\tbare = false\n";

class Guard : public InFolder {
 protected:
  fs::path work(const fs::path& name = {}) { return at("work") / name; }
  void in_work(const fs::path& name, std::string_view text) { put("work" / name, text); }
  void executable(const fs::path& name) {
    in_work(name, "#!/bin/sh\n");
    fs::permissions(work(name), fs::perms::owner_all);
  }
  void repository(const fs::path& folder) {
    in_work(folder / ".git/HEAD", "ref: refs/heads/main\n");
    in_work(folder / ".git/config", kPlainConfig);
    fs::create_directories(work(folder / ".git/hooks"));
    fs::create_directories(work(folder / ".git/objects/ab"));
    fs::create_directories(work(folder / ".git/refs"));
  }
  GuardScan scan(const WalkLimits& limits = {}) {
    fs::create_directories(work());
    return scan_workspace(work(), limits).value();
  }
  /// Root lists every folder, so it is another user for so long, as far as files go (this thread alone).
  GuardScan scan_by_nobody() {
    constexpr uid_t kNobody = 65534;
    const bool is_root = ::geteuid() == 0;
    if (is_root) ::setfsuid(kNobody);
    auto out = scan_workspace(work());
    if (is_root) ::setfsuid(0);
    return std::move(out).value();
  }
  static fs::path deep_path(int folders) {
    fs::path path;
    for (int i = 1; i < folders; ++i) path /= "d";
    return path;
  }
  void make_deep(const fs::path& name, int folders = 70) {
    fs::create_directories(work(name) / deep_path(folders));
  }
  std::vector<std::string> read_only() {
    std::vector<std::string> out;
    for (const GuardedName& name : scan().names) {
      if (name.read_only) out.push_back(name.path);
    }
    return out;
  }
  /// "new .envrc"
  std::vector<std::string> found_since(const GuardScan& before) {
    std::vector<std::string> out;
    for (const GuardFinding& finding : compare(before, scan()))
      out.push_back(fmt::format("{} {}", to_string(finding.what), finding.path));
    return out;
  }
};

TEST_F(Guard, FindsWhatTheHostWouldExecuteAndNothingElse) {
  repository("");
  for (const char* name :
       {".envrc", ".vscode/tasks.json", ".github/workflows/ci.yml", "Jenkinsfile",
        "my.code-workspace", "sub/.envrc", ".claude/settings.json",
        // and what it does not execute by itself:
        "Makefile", "package.json", "src/main.c", ".env", ".github/README.md", "sub/Jenkinsfile",
        "node_modules/x/.vscode/tasks.json", ".claude/notes.md"})
    in_work(name, "x");
  EXPECT_THAT(read_only(),
              UnorderedElementsAre(".git/config", ".git/hooks", ".envrc", ".vscode",
                                   ".github/workflows", "Jenkinsfile", "my.code-workspace",
                                   "sub/.envrc", ".claude/settings.json"));
}

TEST_F(Guard, KnowsRepositoriesOfEveryShape) {
  repository("");
  repository("nested");
  repository("node_modules/dep");
  in_work("worktree/.git", "gitdir: ../.git/worktrees/w\n");
  in_work(".git/worktrees/w/HEAD", "x");
  in_work(".git/worktrees/w/commondir", "../..");
  in_work(".git/modules/a/b/HEAD", "x");
  in_work(".git/modules/a/b/config", kPlainConfig);
  fs::create_directories(work(".git/modules/a/b/objects"));
  fs::create_directories(work(".git/modules/a/b/refs"));
  in_work("bare.git/HEAD", "x");
  in_work("bare.git/config", kPlainConfig);
  fs::create_directories(work("bare.git/objects"));
  fs::create_directories(work("bare.git/refs"));
  in_work("not-one/HEAD", "x");
  in_work("not-one/config", "x");
  // A dependency's may be replaced with the rest of it, and is looked at in the end.
  EXPECT_THAT(read_only(), UnorderedElementsAre(".git/config", ".git/hooks", "nested/.git/config",
                                                "nested/.git/hooks", "worktree/.git",
                                                ".git/worktrees/w/commondir",
                                                ".git/modules/a/b/config", "bare.git/config"));
  const GuardScan before = scan();
  in_work("node_modules/dep/.git/config", "[core]\n\tfsmonitor = ./evil\n");
  EXPECT_THAT(found_since(before), ElementsAre("changed node_modules/dep/.git/config"));
}

TEST_F(Guard, FollowsGitsConfigToHooksAndMoreConfigInTheWorkspace) {
  repository("");
  in_work(".git/config", fmt::format("[core]\n\thooksPath = scripts/hooks\n[include]\n\tpath = "
                                     "../.gitconfig\n[include]\n\tpath = {}\n[include]\n\tpath = "
                                     "/etc/passwd\n[include]\n\tpath = ../../out\n",
                                     work("abs").string()));
  for (const char* name : {"scripts/hooks/pre-commit", ".gitconfig", "abs", "scripts/other"})
    in_work(name, "x");
  put("out", "x");
  EXPECT_THAT(read_only(), UnorderedElementsAre(".git/config", ".git/hooks", "scripts/hooks",
                                                ".gitconfig", "abs"));
}

TEST_F(Guard, NewRepositoriesAsGitMakesThemAreNoFinding) {
  const GuardScan before = scan();
  repository("new");
  executable("new/.git/hooks/pre-commit.sample");
  in_work("new/.git/hooks/pre-push", "not executable");
  EXPECT_THAT(found_since(before), IsEmpty());
  executable("new/.git/hooks/pre-push");
  in_work("new/.git/config", "[core]\n\tfsmonitor = ./evil\n");
  EXPECT_THAT(found_since(before),
              ElementsAre("new new/.git/config", "new new/.git/hooks/pre-push"));
}

TEST_F(Guard, FindsWhatIsNewAndWhatChangedAndNotWhatIsAsItWas) {
  repository("");
  executable(".git/hooks/pre-commit");
  in_work(".vscode/settings.json", "{}");
  in_work(".envrc", "x");
  in_work("notes", "x");
  const GuardScan before = scan();
  EXPECT_THAT(found_since(before), IsEmpty());
  in_work(".envrc", "x");                                 // written anew, with the same content
  in_work(".git/config", "[core]\n\tfilemode = true\n");  // harmless before and after
  in_work("notes", "y");
  in_work("Makefile", "evil");
  EXPECT_THAT(found_since(before), IsEmpty());
  in_work(".envrc", "y");
  in_work(".vscode/tasks.json", "{}");
  in_work(".idea/workspace.xml", "x");
  in_work(".idea/other.xml", "x");
  in_work(".git/commondir", "../evil");
  executable("sub/.husky/pre-commit");
  EXPECT_THAT(found_since(before),
              ElementsAre("changed .envrc", "new .git/commondir", "new .idea",
                          "new .vscode/tasks.json", "new sub/.husky/pre-commit"));
}

TEST_F(Guard, FindsAHookThatBecameExecutable) {
  repository("");
  in_work(".git/hooks/pre-commit", "x");
  const GuardScan before = scan();
  fs::permissions(work(".git/hooks/pre-commit"), fs::perms::owner_all);
  EXPECT_THAT(found_since(before), ElementsAre("changed .git/hooks/pre-commit"));
}

TEST_F(Guard, LinksAreFoundByTheirNamesAndNotFollowedOutside) {
  put("outside/tasks.json", "x");
  in_work("shared/tasks.json", "x");
  fs::create_directory_symlink("shared", work(".vscode"));
  fs::create_directory_symlink(at("outside"), work(".idea"));
  EXPECT_THAT(read_only(), UnorderedElementsAre(".vscode", "shared", ".idea"));
  const GuardScan before = scan();
  EXPECT_FALSE(before.files.contains(".idea/tasks.json"));
  fs::remove(work(".idea"));
  fs::create_directory_symlink("elsewhere", work(".idea"));
  in_work("shared/launch.json", "x");
  EXPECT_THAT(found_since(before), ElementsAre("changed .idea", "new shared/launch.json"));
}

TEST_F(Guard, OfALinkThatIsNewTheLinkIsTold) {
  in_work("sub/a", "x");
  const GuardScan before = scan();
  in_work("sub/b", "x");
  fs::create_directory_symlink("sub", work(".idea"));
  EXPECT_THAT(found_since(before), ElementsAre("new .idea"));
}

TEST_F(Guard, WhatAHostileGuestLeavesHoldsNobodyUp) {
  fs::create_directories(work(".git"));
  ASSERT_EQ(::mkfifo(work(".envrc").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo(work(".git/config").c_str(), 0600), 0);
  fs::create_symlink(".mise.toml", work(".mise.toml"));
  fs::create_symlink("..", work(".vscode"));
  in_work("caf\xe9\n/.envrc", "x");
  const GuardScan all = scan();
  EXPECT_EQ(all.incomplete, "");
  EXPECT_TRUE(all.files.contains("caf\xe9\n/.envrc"));
  EXPECT_TRUE(all.files.contains(".envrc"));
}

TEST_F(Guard, LimitsAreKeptFromTheTopDownAndSaid) {
  in_work("a/b/c/.envrc", "x");
  in_work(".envrc", "x");
  for (int i = 0; i < 30; ++i) in_work(fmt::format("a/{}", i), "x");
  EXPECT_EQ(scan({.entries = 20}).incomplete, "it has more than 20 entries");
  EXPECT_EQ(scan({.entries = 20}).names[0].path, ".envrc");
  EXPECT_EQ(scan({.names = 1}).incomplete, "it has more than 1 guarded names");
  EXPECT_EQ(scan({.time = std::chrono::milliseconds(-1)}).incomplete, "it took more than -1 ms");
  for (int i = 0; i < 9; ++i) in_work(fmt::format(".vscode/{}", i), "x");
  EXPECT_EQ(scan({.files = 5}).incomplete, "there are more than 5 files in guarded folders");
  EXPECT_EQ(scan().incomplete, "");
}

TEST_F(Guard, MountsAreCountedWithTheFoldersOnTheWay) {
  for (const char* name : {".envrc", "a/.envrc", "a/b/.envrc", "c/d/.envrc"}) in_work(name, "x");
  const GuardScan all = scan();
  EXPECT_THAT(read_only_names(all, 5), ElementsAre(".envrc", "a/.envrc", "a/b/.envrc"));
  EXPECT_EQ(read_only_names(all).size(), 4U);
}

TEST_F(Guard, FromStartToEndTellsAndWithStrictMovesAway) {
  in_work(".envrc", "mine");
  in_work("caf\xe9/README", "x");
  for (const auto level : {config::GuardLevel::warn, config::GuardLevel::strict}) {
    ASSERT_TRUE(open_guard(work(), level, at("guard.json")));
    in_work("caf\xe9/.envrc", "evil");
    in_work(".vscode/tasks.json", "{}");
    in_work("Makefile", "all:");
    const auto outcome = close_guard(at("guard.json"), at("quarantine")).value().value();
    ASSERT_EQ(outcome.findings.size(), 2U);
    const bool strict = level == config::GuardLevel::strict;
    EXPECT_EQ(fs::exists(work(".vscode/tasks.json")), !strict);
    EXPECT_EQ(fs::exists(work("caf\xe9/.envrc")), !strict);
    EXPECT_TRUE(fs::exists(work(".envrc")) && fs::exists(work("Makefile")));
    EXPECT_EQ(fs::exists(at("quarantine/caf\xe9/.envrc")), strict);
    EXPECT_FALSE(close_guard(at("guard.json"), at("quarantine")).value());
    EXPECT_THAT(guard_lines(outcome),
                ElementsAre(HasSubstr("the host would execute these of "),
                            HasSubstr(strict ? "; moved to " : ".vscode/tasks.json"),
                            HasSubstr("caf\\xe9/.envrc")));
    fs::remove_all(work(".vscode"));
    fs::remove(work("caf\xe9/.envrc"));
  }
}

TEST_F(Guard, QuarantineWritesNothingOverAndFollowsNoLink) {
  in_work(".envrc", "evil");
  put("q/.envrc", "from before");
  fs::create_directory_symlink(at("q"), work("sub"));
  const auto top = sys::GuestDir::open(work()).value();
  std::vector<GuardFinding> findings = {{.path = ".envrc"}};
  move_to_quarantine(findings, top, work(), at("q"));
  EXPECT_EQ(findings[0].moved_to, work(".envrc.quarantined"));
  EXPECT_EQ(sys::read_file(at("q/.envrc"), 100).value(), "from before");
  findings = {{.path = "sub/.envrc"}};
  move_to_quarantine(findings, top, work(), at("q2"));
  EXPECT_EQ(findings[0].moved_to, "");
  EXPECT_THAT(findings[0].not_moved, HasSubstr("cannot read sub/.envrc in the shared folder"));
  EXPECT_TRUE(fs::exists(at("q/.envrc")));
}

TEST_F(Guard, WhatIsInAMovedFolderWentWithItAndNothingIsWrittenIntoIt) {
  in_work("mine", "x");
  ASSERT_TRUE(open_guard(work(), config::GuardLevel::strict, at("guard.json")));
  for (const char* name : {".husky/a", ".husky/b", ".husky/sub/.envrc", ".husky-not", ".idea-not"})
    in_work(name, "x");
  in_work(".husky/sub/deep/.envrc", "x");
  const auto outcome = close_guard(at("guard.json"), at("q")).value().value();
  std::vector<std::string> moved;
  for (const GuardFinding& finding : outcome.findings) {
    EXPECT_EQ(finding.not_moved, "") << finding.path;
    moved.push_back(finding.moved_to.lexically_relative(at("q")));
    EXPECT_TRUE(fs::exists(finding.moved_to)) << finding.moved_to;
  }
  EXPECT_THAT(moved, ElementsAre(".husky", ".husky/sub/.envrc", ".husky/sub/deep/.envrc"));
  EXPECT_FALSE(fs::exists(work(".husky")));
}

TEST_F(Guard, AFolderThatWasMovedAsideTakesWhatIsInItAlong) {
  in_work(".husky/sub/.envrc", "x");
  put("q/.husky", "in the way");
  std::vector<GuardFinding> findings = {{.path = ".husky"}, {.path = ".husky/sub/.envrc"}};
  move_to_quarantine(findings, sys::GuestDir::open(work()).value(), work(), at("q"));
  EXPECT_EQ(findings[0].moved_to, work(".husky.quarantined"));
  EXPECT_EQ(findings[1].moved_to, work(".husky.quarantined/sub/.envrc"));
}

TEST_F(Guard, AFolderThatCannotBeListedIsToldAndTheRestIsLookedAt) {
  repository("");
  repository(".git/modules/x");
  in_work("sub/.envrc", "x");
  fs::permissions(at("."), fs::perms(0711));
  const fs::path hidden = work(".git/modules/x");
  EXPECT_THAT(scan().gaps, IsEmpty());
  fs::permissions(hidden, fs::perms(0311));
  const GuardScan found = scan_by_nobody();
  fs::permissions(hidden, fs::perms(0755));
  EXPECT_THAT(found.gaps, ElementsAre(GuardGap{".git/modules/x", "cannot be listed"}));
  EXPECT_EQ(found.incomplete, "");
  EXPECT_TRUE(found.files.contains("sub/.envrc"));
}

TEST_F(Guard, WhatCannotBeLookedIntoIsALineForTheUser) {
  fs::create_directories(work());
  ASSERT_TRUE(open_guard(work(), config::GuardLevel::warn, at("guard.json")));
  make_deep("a\x1b");
  const auto outcome = close_guard(at("guard.json"), at("q")).value().value();
  EXPECT_THAT(guard_lines(outcome),
              ElementsAre(testing::AllOf(
                  HasSubstr("was looked at for what the host would execute: a\\x1b/d/"),
                  testing::EndsWith(" is more than 64 folders deep"))));
}

TEST_F(Guard, ADeepBranchHidesNothingInOthers) {
  make_deep("a");
  make_deep(".vscode");
  in_work("b/.envrc", "x");
  for (int i = 0; i < 60; ++i) fs::create_directories(work("z") / std::to_string(i));
  in_work("z/59/.envrc", "x");
  const GuardScan found = scan();
  EXPECT_EQ(found.incomplete, "");
  EXPECT_THAT(found.gaps, testing::SizeIs(2));
  EXPECT_TRUE(found.files.contains("z/59/.envrc"));
}

TEST_F(Guard, ManyFoldersThatCannotBeLookedIntoAreCountedAndHideNothing) {
  make_deep("a", 64);
  const fs::path bottom = work("a") / deep_path(64);
  for (std::size_t i = 0; i < kMostGaps + 5; ++i) fs::create_directory(bottom / std::to_string(i));
  in_work("b/c/.envrc", "x");
  const GuardScan found = scan();
  EXPECT_EQ(found.incomplete, "more than 199 folders in it cannot be looked into");
  EXPECT_TRUE(found.files.contains("b/c/.envrc"));
}

TEST_F(Guard, APathThatIsTooLongForTheKernelIsTold) {
  const std::string name(250, 'n');
  fs::create_directories(work());
  const fs::path before = fs::current_path();
  fs::current_path(work());
  for (int i = 0; i < 20; ++i) {
    fs::create_directory(name);
    fs::current_path(name);
  }
  fs::current_path(before);
  const GuardScan found = scan();
  ASSERT_THAT(found.gaps, testing::SizeIs(1));
  EXPECT_EQ(found.gaps[0].why, "cannot be listed");
}

TEST_F(Guard, AFloodHidesNotTheFoldersOwnRepositoryNorTheOtherWayRound) {
  repository("");
  repository(".git/modules/x");
  in_work(".envrc", "x");
  for (int i = 0; i < 30; ++i) in_work(fmt::format("!/{}", i), "x");
  for (int i = 0; i < 30; ++i) in_work(fmt::format("{}.code-workspace", i), "x");
  for (const WalkLimits& limits :
       {WalkLimits{.entries = 40}, WalkLimits{.names = 10}, WalkLimits{.files = 10}}) {
    const GuardScan found = scan(limits);
    EXPECT_NE(found.incomplete, "");
    EXPECT_TRUE(found.files.contains(".git/config"));
    EXPECT_TRUE(found.files.contains(".git/modules/x/.git/config"));
  }
  for (int i = 0; i < 200; ++i) fs::create_directories(work(fmt::format(".git/modules/{}", i)));
  const GuardScan found = scan({.entries = 300});
  EXPECT_THAT(
      found.gaps,
      ElementsAre(GuardGap{".git", "was not looked at as a whole: it has more than 150 entries"}));
  EXPECT_EQ(found.incomplete, "");
  EXPECT_TRUE(found.files.contains(".envrc"));
}

TEST_F(Guard, WhatAFirstScanMayHaveMissedIsNotNewAndStaysWhereItIs) {
  in_work("sub/.envrc", "mine");
  in_work("sub/.vscode/tasks.json", "mine");
  in_work("sub/.vscode/launch.json", "mine");
  in_work(".envrc", "mine");
  const GuardScan whole = scan();
  const GuardScan stopped = scan({.files = 2});
  ASSERT_NE(stopped.incomplete, "");
  EXPECT_THAT(found_since(stopped), ElementsAre("not seen before sub/.vscode"));
  GuardScan with_gap;
  with_gap.gaps = {{"sub", "cannot be listed"}};
  EXPECT_THAT(found_since(with_gap), ElementsAre("new .envrc", "not seen before sub/.envrc",
                                                 "not seen before sub/.vscode"));
  EXPECT_THAT(found_since({}), ElementsAre("new .envrc", "new sub/.envrc", "new sub/.vscode"));

  put("guard.json",
      to_json({.folder = work(), .level = config::GuardLevel::strict, .before = with_gap}));
  const auto outcome = close_guard(at("guard.json"), at("q")).value().value();
  EXPECT_FALSE(fs::exists(work(".envrc")));
  EXPECT_TRUE(fs::exists(work("sub/.envrc")) && fs::exists(work("sub/.vscode/tasks.json")));
  EXPECT_THAT(guard_lines(outcome)[2],
              HasSubstr("STILL THERE: it may have been there before the VM started"));
  EXPECT_THAT(guard_lines(outcome).back(), HasSubstr("execute: sub cannot be listed"));
}

TEST_F(Guard, ALedNameIsNotNewWhereWhatLedThereMayHaveBeenMissed) {
  repository("");
  in_work(".git/config", "[core]\n\thooksPath = scripts\n");
  executable("scripts/pre-commit");
  GuardScan before = scan();
  before.files.erase("scripts/pre-commit");
  EXPECT_THAT(found_since(before), ElementsAre("new scripts/pre-commit"));
  before.gaps = {{".git", "was not looked at as a whole"}};
  EXPECT_THAT(found_since(before), ElementsAre("not seen before scripts/pre-commit"));
}

TEST_F(Guard, EachNameHasItsFileWhereverTheScanStopped) {
  repository("");
  for (const char* name : {".envrc", ".vscode/a", ".vscode/b", ".zed/c", "sub/.idea/d"})
    in_work(name, "x");
  for (std::size_t most = 0; most < 20; ++most) {
    for (const GuardScan& found : {scan({.files = most}), scan({.text = 8 * most})}) {
      for (const GuardedName& name : found.names)
        EXPECT_TRUE(found.files.contains(name.path)) << most << " " << name.path;
    }
  }
}

TEST(GuardNames, AHardLinkIsFoundAndANameWithoutAFileIsNone) {
  GuardScan scan;
  scan.names = {{.path = "no file", .why = ""}, {.path = ".envrc", .why = ""}};
  scan.files[".envrc"].look = {.kind = sys::GuestDir::Kind::file, .links = 1};
  EXPECT_EQ(name_with_another(scan), nullptr);
  scan.files[".envrc"].look.links = 2;
  EXPECT_EQ(name_with_another(scan)->path, ".envrc");
}

TEST_F(Guard, PathsAreLimitedSoThatTheRecordCanBeReadAgain) {
  for (int i = 0; i < 9; ++i) in_work(fmt::format(".vscode/{}{}", i, std::string(90, 'x')), "x");
  EXPECT_EQ(scan({.text = 500}).incomplete, "its guarded paths have more than 500 bytes");
  EXPECT_EQ(scan({.text = 5000}).incomplete, "");
  fs::remove_all(work(".vscode"));
  fs::create_directories(work());
  fs::create_symlink(std::string(600, 'x'), work(".idea"));
  EXPECT_EQ(scan({.text = 500}).incomplete, "its guarded paths have more than 500 bytes");
}

TEST(GuardRecord, IsNotLongerThanWasReckonedAndIsReadAsItWasWritten) {
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  GuardSnapshot one{.folder = "/w", .level = config::GuardLevel::strict, .before = {}};
  const std::size_t empty = to_json(one).size();
  one.before.files[""] = {.look = {.kind = sys::GuestDir::Kind::other,
                                   .device = kMost,
                                   .inode = kMost,
                                   .size = kMost,
                                   .mode = 07777,
                                   .changed_ns = std::numeric_limits<std::int64_t>::min()},
                          .digest = std::string(64, 'f')};
  EXPECT_LT(to_json(one).size() - empty, kLargestRecord);
  one.before.names.push_back({.path = "", .why = std::string(100, 'w')});
  EXPECT_LT(to_json(one).size() - empty, 2 * kLargestRecord);
  one.before.gaps = {{"caf\xe9", "cannot be listed"}};
  const auto read = parse_guard_snapshot(to_json(one)).value();
  EXPECT_EQ(read.before.gaps, one.before.gaps);
  EXPECT_EQ(read.before.names, one.before.names);
}

TEST(GuardNames, AreAsManyAsAPlanHasRoomFor) {
  GuardScan scan;
  for (int i = 0; i < 100; ++i)
    scan.names.push_back({.path = fmt::format("{}{}", i, std::string(4'000, 'x')), .why = ""});
  EXPECT_EQ(read_only_names(scan).size(), kMostMountBytes / 4'002);
}

TEST_F(Guard, DamagedRecordIsAnErrorAndChangesNothing) {
  put("guard.json", "{}");
  EXPECT_THAT(close_guard(at("guard.json"), at("q")).error().message, HasSubstr("is damaged"));
  EXPECT_TRUE(fs::exists(at("guard.json")));
  ASSERT_TRUE(open_guard(at("."), config::GuardLevel::warn, at("guard.json")));
  EXPECT_TRUE(close_guard(at("guard.json"), at("q")));
}

TEST(GuardRules, HaveAReasonAndAtMostTwoComponents) {
  for (const GuardRule& rule : kGuardRules) {
    EXPECT_FALSE(rule.why.empty()) << rule.name;
    EXPECT_LE(std::ranges::count(rule.name, '/'), 1) << rule.name;
    EXPECT_FALSE(rule.name.ends_with('/'));
  }
}

}  // namespace
}  // namespace pinhole::preflight
