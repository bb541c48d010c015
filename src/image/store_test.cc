// SPDX-License-Identifier: Apache-2.0
#include "image/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "image/names.h"
#include "image/test_store.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ImageName, AcceptsAndRefuses) {
  for (const char* good : {"base", "a", "0", "my-image_1.2"}) EXPECT_TRUE(check_name(good)) << good;
  for (const std::string& bad :
       {std::string(), std::string("A"), std::string("a/b"), std::string(".."), std::string("-a"),
        std::string("a b"), std::string(65, 'a'), std::string(300, 'a')}) {
    EXPECT_FALSE(check_name(bad)) << bad;
  }
  EXPECT_EQ(check_name("a\x1b[2J").error().message,
            "image name \"a\\x1b[2J\" holds a character that names may not");
  EXPECT_EQ(check_name("../x").error().fix,
            "use 1 to 64 of a-z 0-9 . _ -, a letter or digit first");
}

TEST(Store, ListsGoodAndBrokenImagesByName) {
  const TestStore store;
  store.add("web");
  store.add("base");
  fs::create_directories(store.path() / "broken");
  fs::create_directories(store.path() / ".build-x-0123456789ab");
  const auto listed = list_images(store.path()).value();
  ASSERT_EQ(listed.size(), 3U);
  EXPECT_EQ(listed[0].name, "base");
  EXPECT_TRUE(listed[0].image.has_value());
  EXPECT_EQ(listed[1].name, "broken");
  EXPECT_EQ(listed[1].problem, "it has no manifest.yaml");
  EXPECT_EQ(listed[2].name, "web");
  EXPECT_THAT(list_images(store.path() / "nowhere").value(), IsEmpty());
}

TEST(Store, SaysWhatToDoAboutAMissingImage) {
  const TestStore store;
  const Error error = load_image(store.path(), "base").error();
  EXPECT_EQ(error.message, "there is no image \"base\"");
  EXPECT_EQ(error.code, "image_missing");
  EXPECT_THAT(error.fix, HasSubstr("pinhole image build base"));
  EXPECT_EQ(remove_image(store.path(), "base").error().message, "there is no image \"base\"");
}

TEST(Store, RefusesAManifestOfAnotherName) {
  const TestStore store;
  store.add("base");
  fs::rename(store.path() / "base", store.path() / "other");
  EXPECT_EQ(load_image(store.path(), "other").error().message,
            "images/other/manifest.yaml belongs to an image \"base\"");
}

TEST(Store, ChecksFindEachKindOfDamage) {
  const TestStore store;
  store.add("base");
  const Image image = load_image(store.path(), "base").value();
  EXPECT_TRUE(check_image(image, CheckDepth::quick));
  EXPECT_TRUE(check_image(image, CheckDepth::full));
  EXPECT_TRUE(sys::write_file_atomic(image.disk(), "DISK"));
  EXPECT_EQ(check_image(image, CheckDepth::quick).error().message,
            "image \"base\" is damaged: disk.raw is not what was built (its SHA-256 differs)");
  EXPECT_TRUE(sys::write_file_atomic(image.disk(), "disks"));
  EXPECT_EQ(check_image(image, CheckDepth::quick).error().message,
            "image \"base\" is damaged: disk.raw has 5 bytes, not 4");
  fs::remove(image.disk());
  EXPECT_EQ(check_image(image, CheckDepth::quick).error().fix,
            "pinhole image build --refresh base");
  fs::create_symlink("vmlinuz", image.disk());
  EXPECT_EQ(check_image(image, CheckDepth::quick).error().message,
            "image \"base\" is damaged: disk.raw is not a file");
}

TEST(Store, RemovesWholeAndBrokenImagesButNotBusyOnes) {
  const TestStore store;
  store.add("base");
  {
    const auto lock = lock_image(store.path(), "base").value();
    EXPECT_EQ(remove_image(store.path(), "base").error().code, "image_busy");
  }
  EXPECT_TRUE(remove_image(store.path(), "base"));
  EXPECT_FALSE(fs::exists(store.path() / "base"));
  fs::create_directories(store.path() / "broken/folder");
  EXPECT_TRUE(remove_image(store.path(), "broken"));
  EXPECT_THAT(list_images(store.path()).value(), IsEmpty());
}

TEST(Store, RemovesLeftoversOfDeadBuildsOnly) {
  const TestStore store;
  const fs::path dead = store.path() / ".build-dead-0123456789ab";
  const fs::path live = store.path() / ".build-live-0123456789ab";
  const fs::path foreign = store.path() / ".build-x";
  for (const auto& folder : {dead, live, foreign}) fs::create_directories(folder / "root");
  const auto lock = lock_image(store.path(), "live").value();
  EXPECT_TRUE(remove_leftovers(store.path()));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(live));
  EXPECT_TRUE(fs::exists(foreign));
}

TEST(Staging, NameLeadsBackToTheImage) {
  EXPECT_EQ(staged_name(staging_name("my-image")), "my-image");
  EXPECT_EQ(staged_name(".build--0123456789ab"), std::nullopt);
  EXPECT_EQ(staged_name("base"), std::nullopt);
}

TEST(AgeNote, PointsOutWhatIsOlderThanAMonth) {
  const auto now = std::chrono::system_clock::now();
  const TestStore store;
  store.add("base", std::string(64, 'b'), format_time(now - std::chrono::days(31)));
  const Image old = load_image(store.path(), "base").value();
  EXPECT_EQ(age_note(old, now),
            "image \"base\" is 31 days old; for current packages: pinhole image build --refresh "
            "base");
  store.add("new", std::string(64, 'b'), format_time(now - std::chrono::days(29)));
  EXPECT_EQ(age_note(load_image(store.path(), "new").value(), now), std::nullopt);
  store.add("future", std::string(64, 'b'), format_time(now + std::chrono::days(29)));
  EXPECT_EQ(load_image(store.path(), "future").value().age(now), std::chrono::days(0));
}

}  // namespace
}  // namespace pinhole::image
