// SPDX-License-Identifier: Apache-2.0
#include "image/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "sys/files.h"

namespace pinhole::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kRecipe =
    "version: 1\nname: small\nsuite: bookworm\npackages: [systemd, busybox-static]\ninit: init\n";

std::string error_of(std::string_view text) {
  const auto recipe = parse_recipe(text, "r.yaml");
  return recipe ? "no error" : recipe.error().message;
}

TEST(Recipe, ReadsTheSmallestWithDefaults) {
  const Recipe recipe = parse_recipe(kRecipe, "r.yaml").value();
  EXPECT_EQ(recipe.name, "small");
  EXPECT_THAT(recipe.packages, ElementsAre("systemd", "busybox-static"));
  EXPECT_EQ(recipe.disk_size, std::uint64_t{4} << 30);
  EXPECT_EQ(recipe.esp_size, std::uint64_t{64} << 20);
}

TEST(Recipe, NamesWhatIsMissingUnknownOrOfTheWrongType) {
  EXPECT_EQ(error_of("version: 1\nname: a\nsuite: bookworm\ninit: i\n"),
            "r.yaml:1:1: the recipe has no \"packages\"");
  EXPECT_THAT(error_of(std::string(kRecipe) + "package: [x]\n"),
              HasSubstr("r.yaml:6:1: unknown key \"package\"; did you mean \"packages\"?"));
  EXPECT_THAT(error_of(std::string(kRecipe) + "disk_size: big\n"), HasSubstr("r.yaml:6:12: "));
  EXPECT_THAT(error_of(std::string(kRecipe) + "disk_size: 1MiB\n"), HasSubstr("r.yaml:6:12: "));
  EXPECT_THAT(error_of("- a\n"), HasSubstr("r.yaml:1:1: "));
  EXPECT_THAT(error_of(""), HasSubstr("r.yaml"));
}

TEST(Recipe, RefusesAnotherVersion) {
  EXPECT_EQ(error_of("version: 2\nname: a\nsuite: b\npackages: [c]\ninit: i\n"),
            "r.yaml:1:10: a recipe starts with \"version: 1\", the only one that this pinhole "
            "knows");
}

TEST(Recipe, RefusesWordsThatWouldBeOptionsOrPaths) {
  EXPECT_EQ(error_of("version: 1\nname: a\nsuite: bookworm\npackages: [\"--hook=x\"]\ninit: i\n"),
            "r.yaml:4:12: \"--hook=x\" is no name for \"packages\"");
  EXPECT_EQ(error_of("version: 1\nname: a\nsuite: bookworm\npackages: [\"a,b\"]\ninit: i\n"),
            "r.yaml:4:12: \"a,b\" is no name for \"packages\"");
  EXPECT_EQ(error_of("version: 1\nname: a\nsuite: bookworm\npackages: [b]\ninit: ../i\n"),
            "r.yaml:5:7: \"init\" expects a path below the recipe's folder, found \"../i\"");
  EXPECT_THAT(error_of("version: 1\nname: ../a\nsuite: bookworm\npackages: [b]\ninit: i\n"),
              HasSubstr("image name \"../a\" holds a character that names may not"));
}

struct Folder {
  sys::TempDir dir = sys::TempDir::make().value();
  void write(std::string_view name, std::string_view bytes) const {
    std::filesystem::create_directories((dir.path() / name).parent_path());
    EXPECT_TRUE(sys::write_file_atomic(dir.path() / name, bytes));
  }
  Result<LoadedRecipe> load() const { return load_recipe(dir.path() / "r.yaml"); }
};

TEST(LoadRecipe, HashChangesWithEveryPart) {
  const Folder folder;
  folder.write("r.yaml", std::string(kRecipe) + "files: files\nfinish: finish.sh\n");
  folder.write("init", "#!/bin/sh\n");
  folder.write("finish.sh", "#!/bin/sh\n");
  folder.write("files/etc/motd", "hello\n");
  const std::string first = folder.load().value().sha256;
  EXPECT_EQ(folder.load().value().sha256, first);
  std::string last = first;
  const auto expect_change = [&] {
    const std::string now = folder.load().value().sha256;
    EXPECT_NE(now, last);
    last = now;
  };
  folder.write("files/etc/motd", "hello!\n");
  expect_change();
  folder.write("init", "#!/bin/sh\ntrue\n");
  expect_change();
  std::filesystem::permissions(folder.dir.path() / "files/etc/motd",
                               std::filesystem::perms::owner_exec,
                               std::filesystem::perm_options::add);
  expect_change();
  folder.write("r.yaml", std::string(kRecipe) + "files: files\nfinish: finish.sh\n# a word\n");
  expect_change();
}

TEST(LoadRecipe, RefusesLinksAmongBakedFiles) {
  const Folder folder;
  folder.write("r.yaml", std::string(kRecipe) + "files: files\n");
  folder.write("init", "#!/bin/sh\n");
  folder.write("files/a", "");
  std::filesystem::create_symlink("/etc/passwd", folder.dir.path() / "files/b");
  EXPECT_THAT(folder.load().error().message, HasSubstr("is neither a file nor a folder"));
}

TEST(LoadRecipe, NamesAMissingPart) {
  const Folder folder;
  EXPECT_THAT(folder.load().error().message, HasSubstr("cannot use the recipe: cannot open"));
  folder.write("r.yaml", kRecipe);
  EXPECT_THAT(folder.load().error().message, HasSubstr("/init: No such file or directory"));
}

TEST(LoadRecipe, ReadsTheRecipeThatComesWithPinhole) {
  const auto base = load_recipe(std::filesystem::path(PINHOLE_SOURCE_DIR) / "images/base.yaml");
  ASSERT_TRUE(base) << base.error().message;
  EXPECT_EQ(base->recipe.name, "base");
}

}  // namespace
}  // namespace pinhole::image
