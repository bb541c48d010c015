// SPDX-License-Identifier: Apache-2.0
// Which of the recipes that ship with Pinhole suits a project, told by the files in its folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

struct Choice {
  std::string recipe;  ///< "node"
  std::string reason;  ///< "this folder has a package.json"; our words, no foreign text
  /// The line that the user sees: "image node: this folder has a package.json".
  [[nodiscard]] std::string line() const { return "image " + recipe + ": " + reason; }
};

/// `files` are the names of the regular files that lie directly in the project's folder, in any order. Several kinds of
/// projects, or another than node and python have, want `full`; none that is known wants `base`.
Choice choose_recipe(const std::vector<std::string>& files);

/// The same for a folder that a guest may have written: nothing in it is opened or followed, and of very many files those
/// beyond a limit are not looked at. An error when the folder itself cannot be read.
Result<Choice> choose_recipe_for(const std::filesystem::path& folder);

}  // namespace pinhole::image
