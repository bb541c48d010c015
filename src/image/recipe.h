// SPDX-License-Identifier: Apache-2.0
// A recipe: what goes into an image (images/base.yaml is the commented example). It and the files
// that it names are read whole before anything is built, so that what was hashed is what is built.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

struct Recipe {
  std::string name;
  std::string base;  ///< the recipe that this one adds to; empty: it stands alone
  std::string description;
  std::string suite;  ///< Debian's: bookworm
  std::uint64_t disk_size = 0;
  std::uint64_t esp_size = 0;
  std::vector<std::string> packages;
  std::string cmdline;  ///< without root=
  std::vector<std::string> initrd_modules;
  std::vector<std::string> direct_modules;  ///< empty: the image has no direct boot
  // Relative to the recipe's folder, never above it.
  std::string init;
  std::string files;   ///< a folder; may be empty
  std::string finish;  ///< a script; may be empty
};

/// `source` is how errors name the file. A recipe with a base may leave out what that gives; it is empty or 0 here.
Result<Recipe> parse_recipe(std::string_view text, std::string_view source);
/// What `own`, whose base is `base`, comes to: packages and modules are added, the other keys hold where `own` has them.
/// Files and finish scripts are load_recipe()'s matter.
Recipe add_to_base(const Recipe& base, const Recipe& own);

/// A regular file that goes into the image as it is.
struct BakedFile {
  std::string path;  ///< relative to the image's root
  bool executable = false;
  std::string content;
};

/// More bases than this, one standing on the other, are a mistake.
inline constexpr std::size_t kMaxBases = 4;

/// A recipe with everything that it and its bases name.
struct LoadedRecipe {
  Recipe recipe;       ///< with what its bases give
  std::string sha256;  ///< over the texts of all recipes and all of the below
  std::string init;
  std::vector<std::string> finish;  ///< in the order to run them, the base's first
  std::vector<BakedFile>
      files;  ///< sorted by path; where two have the same, the base's is left out
};
/// A base is NAME.yaml beside the recipe that names it, or else in the folder `shipped`.
Result<LoadedRecipe> load_recipe(const std::filesystem::path& path,
                                 const std::filesystem::path& shipped = {});

}  // namespace pinhole::image
