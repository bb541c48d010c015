// SPDX-License-Identifier: Apache-2.0
#include "config/share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ShareWish wish(std::string_view word) {
  const auto parsed = parse_share_wish(word);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed.value_or(ShareWish());
}

TEST(ShareWish, IsAFolderAPlaceAndARight) {
  EXPECT_EQ(wish("data"), (ShareWish{.host = "data", .guest = "/workspace"}));
  EXPECT_EQ(wish("data:ro"), (ShareWish{.host = "data", .guest = "/workspace", .read_only = true}));
  EXPECT_EQ(wish("./a:/data/"), (ShareWish{.host = "./a", .guest = "/data"}));
  EXPECT_EQ(wish("/a:/data:ro"), (ShareWish{.host = "/a", .guest = "/data", .read_only = true}));
  EXPECT_EQ(wish("/a:/data:rw"), (ShareWish{.host = "/a", .guest = "/data"}));
  EXPECT_EQ(wish("/a:b:/data"), (ShareWish{.host = "/a:b", .guest = "/data"}));
}

TEST(ShareWish, RefusesPlacesThatAreNone) {
  for (const auto& [word, why] : {
           std::pair("a:data",
                     "cannot share a folder at data in the guest: that is not an absolute "
                     "path"),
           std::pair("a:", "that is not an absolute path"),
           std::pair("a:/", "that is the guest's whole system"),
           std::pair("a:///", "that is the guest's whole system"),
           std::pair("a:/proc", "/proc belongs to the guest's own system"),
           std::pair("a:/etc/ssh", "/etc belongs to the guest's own system"),
           std::pair("a:/usr", "/usr belongs"),
           std::pair("a:/home", "what is there belongs to the guest's own system"),
           std::pair("a:/data/../etc", "\"..\""),
           std::pair("a:/./data", "\".\""),
           std::pair("a://data", "an empty name"),
           std::pair("a:/my data", "a space"),
           std::pair("a:/da\tta", "printable ASCII"),
           std::pair(":/data", "\":/data\" names no folder of this host"),
           std::pair(":ro", "\":ro\" names no folder"),
       }) {
    const auto parsed = parse_share_wish(word);
    ASSERT_FALSE(parsed) << word;
    EXPECT_THAT(parsed.error().message, HasSubstr(why));
    EXPECT_FALSE(parsed.error().fix.empty());
    EXPECT_EQ(parsed.error().exit_status, 2);
  }
  EXPECT_FALSE(valid_guest_path("/" + std::string(kLongestGuestPath, 'a')));
  EXPECT_TRUE(valid_guest_path("/" + std::string(kLongestGuestPath - 1, 'a')));
  for (const char* path : {"/etcetera", "/home/ana", "/srv", "/var/lib/data", "/tmp/x", "/procs/1"})
    EXPECT_EQ(valid_guest_path(path).value_or("refused"), path);
}

TEST(Overlap, IsTheSamePlaceOrOneInsideTheOther) {
  EXPECT_EQ(overlap_problem({"/workspace", "/data", "/database", "/home/ana/.npm"}), std::nullopt);
  EXPECT_EQ(overlap_problem({"/a", "/b", "/a"}), "two folders cannot both be at /a");
  EXPECT_EQ(overlap_problem({"/a/b", "/a"}), "/a/b lies inside of /a");
  EXPECT_EQ(overlap_problem({"/a", "/a/b"}), "/a/b lies inside of /a");
}

TEST(CacheWish, KnowsTheFoldersOfSomeToolsAndNeedsThoseOfOthers) {
  EXPECT_EQ(parse_cache_wish("npm").value(), (CacheWish{.name = "npm"}));
  EXPECT_EQ(parse_cache_wish("venv:/opt/venv").value(),
            (CacheWish{.name = "venv", .guest = "/opt/venv"}));
  EXPECT_EQ(parse_cache_wish("npm:/npm").value(), (CacheWish{.name = "npm", .guest = "/npm"}));
  EXPECT_EQ(parse_cache_wish("venv").error().message, "where in the guest is the cache \"venv\"?");
  EXPECT_FALSE(parse_cache_wish("venv:opt"));
  EXPECT_FALSE(parse_cache_wish("venv:/etc"));
  for (const char* name : {"", "..", "../x", "a/b", "A", ".hidden"})
    EXPECT_FALSE(parse_cache_wish(std::string(name) + ":/x")) << name;
}

TEST(CacheFolders, OfGoAreTwoVolumes) {
  const auto go = cache_folders("go");
  ASSERT_EQ(go.size(), 2U);
  EXPECT_EQ(go[0].below_home, "go/pkg/mod");
  EXPECT_EQ(go[1].below_home, ".cache/go-build");
  EXPECT_NE(go[0].volume, go[1].volume);
  EXPECT_TRUE(cache_folders("venv").empty());
}

}  // namespace
}  // namespace pinhole::config
