// SPDX-License-Identifier: Apache-2.0
#include "image/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "image/recipe.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string line(const std::vector<std::string>& files) { return choose_recipe(files).line(); }

TEST(ChooseRecipe, TakesTheLanguageThatTheFolderNames) {
  EXPECT_EQ(line({"src.js", "package.json"}), "image node: this folder has a package.json");
  EXPECT_EQ(line({"requirements.txt", "a.py"}), "image python: this folder has a requirements.txt");
  EXPECT_EQ(line({"pyproject.toml", "uv.lock"}), "image python: this folder has a pyproject.toml");
  for (const char* mark : {"go.mod", "Cargo.toml", "pom.xml", "build.gradle", "Gemfile"})
    EXPECT_EQ(line({mark}), fmt::format("image full: this folder has a {}", mark));
}

TEST(ChooseRecipe, TakesFullForMoreThanOne) {
  EXPECT_EQ(line({"setup.py", "package.json"}),
            "image full: this folder has a package.json and a setup.py");
  EXPECT_EQ(line({"go.mod", "package.json"}),
            "image full: this folder has a package.json and a go.mod");
}

TEST(ChooseRecipe, TakesBaseWhereNothingIsKnown) {
  EXPECT_EQ(line({}), "image base: this folder names no language");
  EXPECT_EQ(line({"README.md", "package.json.bak", "PACKAGE.JSON", "my-go.mod"}),
            "image base: this folder names no language");
}

TEST(ChooseRecipe, NamesRecipesThatShipWithPinhole) {
  const fs::path images = fs::path(PINHOLE_SOURCE_DIR) / "images";
  for (const auto& files :
       std::vector<std::vector<std::string>>{{}, {"package.json"}, {"setup.py"}, {"go.mod"}}) {
    const std::string recipe = choose_recipe(files).recipe;
    EXPECT_EQ(load_recipe(images / (recipe + ".yaml")).value().recipe.name, recipe);
  }
}

TEST(ChooseRecipeFor, CountsOnlyPlainFiles) {
  const auto folder = sys::TempDir::make().value();
  ASSERT_TRUE(sys::write_file_atomic(folder.path() / "setup.py", ""));
  fs::create_directory(folder.path() / "package.json");
  fs::create_symlink("/etc/passwd", folder.path() / "go.mod");
  ASSERT_EQ(::mkfifo((folder.path() / "Cargo.toml").c_str(), 0600), 0);
  EXPECT_EQ(choose_recipe_for(folder.path()).value().line(),
            "image python: this folder has a setup.py");
}

TEST(ChooseRecipeFor, SaysWhichFolderItCannotRead) {
  const Error error = choose_recipe_for("/nowhere/at/all").error();
  EXPECT_EQ(
      error.message,
      "cannot choose an image: cannot open folder /nowhere/at/all: No such file or directory");
  EXPECT_EQ(error.fix, "name one: --image base");
}

}  // namespace
}  // namespace pinhole::image
