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

/// `source` is how errors name the file.
Result<Recipe> parse_recipe(std::string_view text, std::string_view source);

/// A regular file that goes into the image as it is.
struct BakedFile {
  std::string path;  ///< relative to the image's root
  bool executable = false;
  std::string content;
};

/// A recipe with everything that it names.
struct LoadedRecipe {
  Recipe recipe;
  std::string sha256;  ///< over the recipe's text and all of the below
  std::string init;
  std::string finish;  ///< empty: none
  std::vector<BakedFile> files;
};
Result<LoadedRecipe> load_recipe(const std::filesystem::path& path);

}  // namespace pinhole::image
