// SPDX-License-Identifier: Apache-2.0
#include "preflight/shares.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "preflight/test_files.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

using testing::HasSubstr;

class Shares : public InFolder {
 protected:
  void SetUp() override {
    for (const char* folder : {"work/sub", "other", "state"}) fs::create_directories(at(folder));
    options_.folder = at("work");
    options_.workspace_explicit = true;
    options_.request.workspace = at("work").string();
  }
  void share(const std::string& folder, const std::string& guest, bool read_only = false) {
    options_.request.shares.push_back(
        {.host = at(folder).string(), .guest = guest, .read_only = read_only});
  }
  std::string refusal() {
    const auto chosen = choose_shares(paths(), options_, {.uid = 1000, .gid = 1000}, notes_);
    return chosen ? "chosen" : chosen.error().message;
  }

  PrepareOptions options_{};
  std::vector<std::string> notes_;
};

TEST_F(Shares, ThatOverlapAreRefused) {
  share("other", "/workspace/data");
  EXPECT_THAT(refusal(), HasSubstr("/workspace/data lies inside of /workspace"));
  options_.request.shares.clear();
  share("work/sub", "/srv/sub", true);
  EXPECT_THAT(refusal(), HasSubstr("have files in common"));
  options_.request.shares.clear();
  share("gone", "/srv/gone");
  EXPECT_THAT(refusal(), HasSubstr("gone as a shared folder: No such file"));
}

TEST_F(Shares, OfOneVmAreSoMany) {
  for (std::size_t i = 1; i < config::kMostShares; ++i)
    share("other", "/srv/" + std::to_string(i), true);
  EXPECT_THAT(refusal(), testing::Not(HasSubstr("too many")));
  options_.request.caches = {{.name = "npm"}};
  EXPECT_THAT(refusal(), HasSubstr("9 folders are too many to share"));
}

TEST_F(Shares, AWorkspaceThatIsReadOnlyHasToBeThere) {
  options_.request.read_only = true;
  options_.request.workspace.reset();
  EXPECT_EQ(refusal(), "there is no workspace to be read-only");
}

TEST_F(Shares, TwoProjectsOfOneNameHaveVolumesApart) {
  const fs::path one = cache_folder(paths(), "/home/ana/web app");
  EXPECT_THAT(one.string(), HasSubstr("/state/caches/web_app-"));
  EXPECT_EQ(cache_folder(paths(), "/home/ana/web app"), one);
  EXPECT_NE(cache_folder(paths(), "/home/bob/web app"), one);
}

TEST_F(Shares, AVolumeIsMadeOnceAndStaysWhatAGuestMadeOfIt) {
  const fs::path volume = cache_folder(paths(), at("work")) / "npm";
  const std::vector<config::Share> shares = {
      {.tag = "share-1", .host = volume, .guest = "/home/ana/.npm", .cache = true}};
  ASSERT_TRUE(make_caches(shares, options_));
  EXPECT_EQ(sys::read_file(volume.parent_path() / kCacheProject, 1000),
            fs::canonical(at("work")).string());
  fs::permissions(volume, fs::perms::all);
  EXPECT_TRUE(make_caches(shares, options_));
  // Not reachable for others all the same.
  struct stat info{};
  ASSERT_EQ(::stat(volume.parent_path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
}

TEST_F(Shares, AVolumeInUseIsNotRemovedAndOneBeingRemovedNotUsed) {
  const fs::path npm = cache_folder(paths(), at("work")) / "npm";
  const fs::path pip = npm.parent_path() / "pip";
  const auto of = [](const fs::path& volume) {
    return std::vector<config::Share>{
        {.tag = "share-1", .host = volume, .guest = "/home/ana/x", .cache = true}};
  };
  auto one = make_caches(of(npm), options_).value();
  auto other = use_caches(of(npm)).value();  // its supervisor, or another VM
  EXPECT_FALSE(keep_from_use(npm).value());
  one.clear();
  EXPECT_FALSE(keep_from_use(npm).value());
  other.clear();
  auto removing = keep_from_use(npm).value();
  ASSERT_TRUE(removing);
  EXPECT_EQ(use_caches(of(npm)).error().message, "the cache \"npm\" is being removed just now");
  // The project's folder may be about to go.
  EXPECT_FALSE(make_caches(of(pip), options_));
  EXPECT_FALSE(fs::exists(pip));
  // What runs with another volume does not mind.
  EXPECT_TRUE(use_caches(of(pip)));
  removing.reset();
  const auto pips = make_caches(of(pip), options_).value();
  EXPECT_TRUE(keep_from_use(npm).value());
  EXPECT_FALSE(keep_from_use(pip).value());
}

}  // namespace
}  // namespace pinhole::preflight
