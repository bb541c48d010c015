// SPDX-License-Identifier: Apache-2.0
#include "preflight/share_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "preflight/test_files.h"

namespace pinhole::preflight {
namespace {

using config::Share;
using testing::HasSubstr;

class ShareGuard : public InFolder {
 protected:
  void SetUp() override {
    for (const char* folder : {"app/.git/hooks", "app/src", "tools/hooks"})
      fs::create_directories(at(folder));
  }
  std::string refusal(const fs::path& folder) {
    const auto checked = check_not_guarded({.tag = "share-1", .host = at(folder), .guest = "/x"});
    return checked ? "" : checked.error().message + "; " + checked.error().fix;
  }
  /// app leads, tools is led to.
  std::string lead(bool guarded = true) {
    const Share app{.tag = "workspace", .host = at("app"), .guest = "/workspace"};
    const Share tools{.tag = "share-1", .host = at("tools"), .guest = "/tools"};
    std::vector<ScannedShare> scanned;
    for (const Share* share : {&app, &tools}) {
      GuardScan scan = scan_workspace(share->host).value();
      scanned.push_back({.share = share,
                         .guarded = share == &app || guarded,
                         .leads = std::move(scan.leads),
                         .more_leads = scan.more_leads});
    }
    const auto checked = check_leads(scanned, HostFolders::read().value());
    return checked ? "" : checked.error().message + "; " + checked.error().fix;
  }
  void config(std::string_view text) { put("app/.git/config", text); }
};

TEST_F(ShareGuard, NoShareLiesInWhatTheHostExecutes) {
  for (const char* folder :
       {"proj/.git", "proj/.git/hooks", "proj/.git/modules/x", "proj/.vscode", "proj/.idea/sub",
        "proj/.husky/_", "proj/.github/workflows", "proj/.claude/hooks/x", "x.code-workspace"})
    EXPECT_THAT(refusal(folder), HasSubstr("cannot let the guest write to")) << folder;
  EXPECT_EQ(
      refusal("proj/.vscode/sub"),
      fmt::format("cannot let the guest write to {0}/proj/.vscode/sub: the host executes what "
                  "is in {0}/proj/.vscode (editors run tasks and programs that it names); share "
                  "it read-only (-w {0}/proj/.vscode/sub:/x:ro), or guard nothing: --guard off",
                  at("").parent_path().string()));
  // Of the first half of a name the rest is guarded in it.
  for (const char* folder : {"proj", "proj/.github", "proj/.claude", "vscode", "proj/git/hooks"})
    EXPECT_EQ(refusal(folder), "") << folder;
}

TEST_F(ShareGuard, NorInABareRepository) {
  put("x.git/HEAD", "ref: refs/heads/main\n");
  fs::create_directories(at("x.git/objects"));
  fs::create_directories(at("x.git/hooks/more"));
  EXPECT_EQ(refusal("x.git/hooks"), "");
  fs::create_directories(at("x.git/refs"));
  EXPECT_THAT(refusal("x.git/hooks/more"), HasSubstr("x.git (git runs what is in it)"));
  // As a whole its own hooks are guarded.
  EXPECT_EQ(refusal("x.git"), "");
}

TEST_F(ShareGuard, TheFirstHalfOfANameMayBeTheShareItself) {
  put(".claude/settings.json", "{}");
  put(".claude/notes", "x");
  const GuardScan scan = scan_workspace(at(".claude")).value();
  ASSERT_EQ(scan.names.size(), 1U);
  EXPECT_EQ(scan.names[0].path, "settings.json");
  EXPECT_TRUE(scan.names[0].read_only);
}

TEST_F(ShareGuard, GitsSettingsMayNotLeadToAnotherShare) {
  for (const std::string& path :
       {std::string("../tools/hooks"), at("tools/hooks").string(), at("tools").string(),
        std::string("../tools/none/yet"), at("").string()}) {
    config("[core]\n\thooksPath = " + path + "\n");
    EXPECT_THAT(lead(), HasSubstr(".git/config of ")) << path;
    EXPECT_THAT(lead(), HasSubstr(fmt::format("share it read-only (-w {}:/tools:ro)",
                                              at("tools").string())));
  }
  EXPECT_EQ(lead(false), "");
  config("[include]\n\tpath = ../../tools/gitconfig\n");
  EXPECT_THAT(lead(), HasSubstr("tools/gitconfig: what the host executes would be in "));
  for (const char* path : {"../toolshed", "hooks", "/dev/null", "/etc/passwd"}) {
    config(fmt::format("[core]\n\thooksPath = {}\n", path));
    EXPECT_EQ(lead(), "") << path;
  }
}

TEST_F(ShareGuard, NorLinks) {
  fs::create_directory_symlink("../tools", at("app/.vscode"));
  EXPECT_THAT(lead(), HasSubstr(".vscode of "));
  fs::remove(at("app/.vscode"));
  fs::create_symlink("../../../tools/hooks/pre-commit", at("app/.git/hooks/pre-commit"));
  EXPECT_THAT(lead(), HasSubstr(".git/hooks/pre-commit of "));
  fs::remove(at("app/.git/hooks/pre-commit"));
  // By way of a link that is itself in no share.
  fs::create_directory_symlink(at("tools"), at("other"));
  config("[core]\n\thooksPath = ../other/hooks\n");
  EXPECT_THAT(lead(), HasSubstr("other/hooks: what the host"));
  config("");
  // What nobody executes may lead anywhere.
  fs::create_directory_symlink("../../tools", at("app/src/tools"));
  EXPECT_EQ(lead(), "");
}

TEST_F(ShareGuard, TooManyLeadsAreNotPassedOver) {
  for (std::size_t i = 0; i <= kMostLeads; ++i)
    fs::create_symlink("/none", at("app/.git/hooks") / std::to_string(i));
  EXPECT_THAT(lead(), HasSubstr("has more than 4000 links"));
  EXPECT_EQ(lead(false), "");
}

}  // namespace
}  // namespace pinhole::preflight
