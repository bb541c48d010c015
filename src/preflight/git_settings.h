// SPDX-License-Identifier: Apache-2.0
// What a repository's own files can make git on the host execute. Pure, and stricter than git's own reader (git-config(1)):
// what is not understood here counts as able to.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pinhole::preflight {

/// The lines of a git config that could make git execute something: all but the plain ones that `git init`, `git clone`
/// and branches leave, each with its section. Empty: the file is harmless. Two files with the same are equally harmful.
std::string active_lines(std::string_view config);

/// Paths in it that git takes hooks or more config from (core.hooksPath, include.path), as they are written.
struct NamedPaths {
  std::vector<std::string> hooks;     // relative to the top of the working tree
  std::vector<std::string> included;  // relative to the config's folder
};
NamedPaths named_paths(std::string_view config);

/// Whether a `.git` file, found in `folder` (relative to the workspace), leads to a submodule's folder below the
/// `modules` of a repository in the same workspace, which is looked at anyway.
bool is_plain_git_file(std::string_view content, std::string_view folder);

/// `path` seen from `folder`, both below the same top, without links in mind; empty where it leads out or to the top.
std::string joined(std::string_view folder, std::string_view path);

}  // namespace pinhole::preflight
