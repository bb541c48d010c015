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

/// A base with all parts, and r.yaml that adds to it.
struct Derived : Folder {
  Derived() {
    write("small.yaml", std::string(kRecipe) +
                            "disk_size: 2GiB\ncmdline: quiet\ninitrd_modules: [virtio_pci]\n"
                            "files: files\nfinish: finish.sh\n");
    write("init", "the init");
    write("finish.sh", "first");
    write("files/etc/motd", "base");
    write("files/etc/hosts", "base");
    write("r.yaml",
          "version: 1\nname: more\nbase: small\npackages: [nodejs, systemd]\n"
          "initrd_modules: [virtio_blk]\nfiles: more\nfinish: more.sh\n");
    write("more.sh", "second");
    write("more/etc/motd", "own");
    write("more/etc/new", "own");
  }
};

TEST(RecipeWithABase, AddsToIt) {
  const Derived folder;
  const LoadedRecipe loaded = folder.load().value();
  EXPECT_EQ(loaded.recipe.name, "more");
  EXPECT_EQ(loaded.recipe.suite, "bookworm");
  EXPECT_EQ(loaded.recipe.disk_size, std::uint64_t{2} << 30);
  EXPECT_EQ(loaded.recipe.esp_size, std::uint64_t{64} << 20);
  EXPECT_EQ(loaded.recipe.cmdline, "quiet");
  EXPECT_THAT(loaded.recipe.packages, ElementsAre("systemd", "busybox-static", "nodejs"));
  EXPECT_THAT(loaded.recipe.initrd_modules, ElementsAre("virtio_pci", "virtio_blk"));
  EXPECT_EQ(loaded.init, "the init");
  EXPECT_THAT(loaded.finish, ElementsAre("first", "second"));
  std::vector<std::string> files;
  for (const BakedFile& file : loaded.files) files.push_back(file.path + "=" + file.content);
  EXPECT_THAT(files, ElementsAre("etc/hosts=base", "etc/motd=own", "etc/new=own"));
}

TEST(RecipeWithABase, MayOverruleItsKeys) {
  const Derived folder;
  folder.write("init2", "another");
  folder.write("r.yaml",
               "version: 1\nname: more\nbase: small\ndisk_size: 8GiB\ncmdline: debug\n"
               "suite: trixie\ninit: init2\n");
  const LoadedRecipe loaded = folder.load().value();
  EXPECT_EQ(loaded.recipe.disk_size, std::uint64_t{8} << 30);
  EXPECT_EQ(loaded.recipe.cmdline, "debug");
  EXPECT_EQ(loaded.recipe.suite, "trixie");
  EXPECT_EQ(loaded.init, "another");
  EXPECT_THAT(loaded.recipe.packages, ElementsAre("systemd", "busybox-static"));
}

TEST(RecipeWithABase, HasAHashOverAllOfThem) {
  const Derived folder;
  std::string last = folder.load().value().sha256;
  for (const char* part : {"finish.sh", "more.sh", "files/etc/hosts", "more/etc/new", "init"}) {
    folder.write(part, "changed");
    const std::string now = folder.load().value().sha256;
    EXPECT_NE(now, last) << part;
    last = now;
  }
  folder.write("small.yaml", std::string(kRecipe) + "# a word\n");
  EXPECT_NE(folder.load().value().sha256, last);
}

TEST(RecipeWithABase, RefusesOneThatStandsOnItself) {
  const Folder folder;
  const auto error = [&] { return folder.load().error().message; };
  folder.write("r.yaml", "version: 1\nname: r\nbase: r\n");
  EXPECT_THAT(error(), ::testing::EndsWith("r.yaml stands on itself: r -> r"));
  folder.write("r.yaml", "version: 1\nname: r\nbase: s\n");
  folder.write("s.yaml", "version: 1\nname: s\nbase: r\n");
  EXPECT_THAT(error(), ::testing::EndsWith("r.yaml stands on itself: r -> s -> r"));
}

TEST(RecipeWithABase, RefusesMoreBasesThanAnyoneUnderstands) {
  const Folder folder;
  folder.write("init", "");
  folder.write("r.yaml", "version: 1\nname: r\nbase: a\n");
  folder.write("a.yaml", "version: 1\nname: a\nbase: b\n");
  folder.write("b.yaml", "version: 1\nname: b\nbase: c\n");
  folder.write("c.yaml", "version: 1\nname: c\nbase: d\n");
  folder.write("d.yaml", kRecipe);
  EXPECT_TRUE(folder.load());
  folder.write("d.yaml", "version: 1\nname: d\nbase: e\n");
  EXPECT_THAT(
      folder.load().error().message,
      ::testing::EndsWith("r.yaml stands on more than 4 others: r -> a -> b -> c -> d -> e"));
}

TEST(RecipeWithABase, FindsItAmongThoseThatShip) {
  const Derived shipped;
  const Folder own;
  own.write("my.yaml", "version: 1\nname: my\nbase: r\npackages: [postgresql]\n");
  const auto loaded = load_recipe(own.dir.path() / "my.yaml", shipped.dir.path()).value();
  EXPECT_THAT(loaded.recipe.packages,
              ElementsAre("systemd", "busybox-static", "nodejs", "postgresql"));
  EXPECT_THAT(loaded.finish, ElementsAre("first", "second"));
  EXPECT_FALSE(load_recipe(own.dir.path() / "my.yaml"));
  own.write("r.yaml", kRecipe);  // the nearer one
  EXPECT_THAT(load_recipe(own.dir.path() / "my.yaml", shipped.dir.path()).error().message,
              HasSubstr("/init: No such file or directory"));
}

TEST(RecipeWithABase, NamesAMissingOrBrokenBase) {
  const Folder folder;
  folder.write("r.yaml", "version: 1\nname: r\nbase: gone\n");
  EXPECT_THAT(folder.load().error().message,
              HasSubstr("while reading the base of recipe r: cannot use the recipe: cannot open"));
  folder.write("r.yaml", "version: 1\nname: r\nbase: ../up\n");
  EXPECT_EQ(folder.load().error().message,
            "r.yaml:3:7: image name \"../up\" holds a character that names may not");
  folder.write("gone.yaml", "version: 1\nname: gone\n");
  folder.write("r.yaml", "version: 1\nname: r\nbase: gone\n");
  EXPECT_THAT(folder.load().error().message, HasSubstr("gone.yaml:1:1: "));
}

TEST(LoadRecipe, ReadsTheRecipesThatComeWithPinhole) {
  for (const std::string name : {"base", "node", "python", "full", "chromium"}) {
    const auto recipe =
        load_recipe(std::filesystem::path(PINHOLE_SOURCE_DIR) / "images" / (name + ".yaml"));
    ASSERT_TRUE(recipe) << recipe.error().message;
    EXPECT_EQ(recipe->recipe.name, name);
    EXPECT_FALSE(recipe->recipe.direct_modules.empty());
  }
}

}  // namespace
}  // namespace pinhole::image
