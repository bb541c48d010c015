// SPDX-License-Identifier: Apache-2.0
#include "preflight/git_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::preflight {
namespace {

TEST(GitConfig, ThatGitItselfWritesIsHarmless) {
  EXPECT_EQ(active_lines("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n"
                         "\tbare = false\n\tlogallrefupdates = true\n"
                         "[remote \"origin\"]\n\turl = https://github.com/o/r.git\n"
                         "\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
                         "# a comment\n"
                         "[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n"
                         "[submodule \"lib/a\"]\n\tactive = true\n\turl = git@github.com:o/a.git\n"
                         "[remote \"near\"]\n\turl = /workspace/.\n"
                         "[user]\n\tname = Ana Perez\n\temail = ana@example.com\n"),
            "");
}

TEST(GitConfig, ThatCanExecuteSomethingIsNot) {
  for (const char* config : {"[core]\n\tfsmonitor = ./evil\n",
                             "[core]\n\thooksPath = x\n",
                             "[core] sshCommand = x\n",
                             "[core]sshCommand=x\n",
                             "[CORE]\nFSMonitor=./e\n",
                             "[alias]\n\tst = !evil\n",
                             "[include]\n\tpath = ../evil\n",
                             "[filter \"x\"]\n\tclean = evil\n",
                             "[diff]\n\texternal=e\n",
                             "[remote \"origin\"]\n\turl = ext::sh -c evil\n",
                             "[branch \"main\"]\n\tremote = ext::sh -c evil\n",
                             "[remote \"o\"]\n\turl = -oProxy\n",
                             "[remote \"o\"]\n\turl = https://-x\n",
                             "[remote \"o\"]\n\tuploadpack = evil\n",
                             "[credential]\n\thelper = !evil\n",
                             "[core]\n\tbare = false \\\n\tx\n",
                             "[branch \"x\"] sshCommand=\"]\n",
                             "[core] fsmonitor = evil ]\n",
                             "[core]\n\tworktree = /\n",
                             "[core]\n\tpager\n",
                             "\xff"})
    EXPECT_NE(active_lines(config), "") << config;
  EXPECT_NE(active_lines(std::string_view("[core]\n\0", 8)), "");
}

TEST(GitConfig, IsAsItWasWhenOnlyPlainLinesChanged) {
  const std::string before = "[core]\n\thooksPath = .husky\n\tbare = false\n";
  EXPECT_EQ(active_lines(before), active_lines(before + "[branch \"b\"]\n\tremote = origin\n"));
  EXPECT_NE(active_lines(before), active_lines(before + "\tfsmonitor = evil\n"));
  EXPECT_NE(active_lines("[a]\nx=1\n"), active_lines("[b]\nx=1\n"));
}

TEST(GitConfig, NamesWhereHooksAndMoreConfigAre) {
  const NamedPaths paths = named_paths(
      "[core]\n\thooksPath = .husky/_\n[include]\n\tpath = \"../.gitconfig\"\n[alias]\n\tpath=x\n"
      "[includeIf \"gitdir:x\"]\n\tpath = y\n");
  EXPECT_THAT(paths.hooks, testing::ElementsAre(".husky/_"));
  EXPECT_THAT(paths.included, testing::ElementsAre("../.gitconfig", "y"));
}

TEST(GitFile, IsPlainOnlyWhereItLeadsToTheModulesOfARepositoryHere) {
  EXPECT_TRUE(is_plain_git_file("gitdir: ../.git/modules/lib\n", "lib"));
  EXPECT_TRUE(is_plain_git_file("gitdir: ../../.git/modules/libs/a\n", "libs/a"));
  for (const char* content :
       {"gitdir: ../.git/worktrees/x\n", "gitdir: /tmp/evil\n", "gitdir: ../../.git/modules/x\n",
        "gitdir: ../.git/modules/../evil\n", "gitdir: evil\n", "gitdir: ../evil\n", ""})
    EXPECT_FALSE(is_plain_git_file(content, "lib")) << content;
}

TEST(JoinedPath, StaysBelowTheTop) {
  EXPECT_EQ(joined("", "a"), "a");
  EXPECT_EQ(joined("sub/.git", "../.gitconfig"), "sub/.gitconfig");
  EXPECT_EQ(joined("sub", "./a//b/"), "sub/a/b");
  for (const char* out : {"../x", "..", "/etc", "a/../../x", "."}) EXPECT_EQ(joined("", out), "");
  EXPECT_EQ(joined("sub", ".."), "");
}

}  // namespace
}  // namespace pinhole::preflight
