// SPDX-License-Identifier: Apache-2.0
// Builds an image from a recipe, as an ordinary user and without mounting anything: mmdebstrap
// unpacks a Debian inside a user namespace of the caller's subordinate ids, `mke2fs -d` makes a
// file system of it, mtools and sgdisk do the rest. Everything happens in one folder inside the
// store, which a rename turns into the image; an interrupted build leaves nothing that the next
// one would not remove.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "image/store.h"

namespace pinhole::image {

/// Part of every cache key: raise it when the same recipe would give another image.
inline constexpr std::string_view kBuilderVersion = "2";

enum class Stage {
  waiting,   ///< for another build of the same image
  cleaning,  ///< what an interrupted build left
  copying,   ///< an image that lacks nothing but the new agent
  renewing,  ///< the agent in that copy
  packages,  ///< mmdebstrap
  content,   ///< baked files, agent, finish script
  disk,      ///< file systems and partition table
  hashing,
};
std::string_view stage_text(Stage stage);

struct Progress {
  Stage stage = Stage::waiting;
  double fraction = 0;      ///< of the whole build, 0 to 1, never falling
  std::string_view detail;  ///< the program's latest line, foreign text; valid during the call
};

struct BuildOptions {
  std::filesystem::path store;   ///< default_store()
  std::filesystem::path recipe;  ///< images/base.yaml
  std::filesystem::path agent;   ///< the static pinhole-agent
  /// Where bases of the recipe are that are not beside it: those that ship with Pinhole. May be empty.
  std::filesystem::path shipped = {};
  bool refresh = false;  ///< build anew even if nothing changed
  std::function<void(const Progress&)> progress = {};
  int cancel_fd = -1;  ///< borrowed; readable means: give up and clean up (code "cancelled")
  /// For another build of the same image to end; zero refuses at once (code "image_busy").
  std::chrono::seconds wait = std::chrono::minutes(15);
};

struct BuildResult {
  Image image;
  bool cached = false;             ///< it was there already; no network was used
  bool renewed = false;            ///< it was there with another agent; no network was used
  std::vector<std::string> notes;  ///< one line each: why it was built anew, its age
  std::chrono::milliseconds took{};
};

/// Where the stored image has this recipe and builder but another agent, a copy of it gets the new agent instead of a build.
Result<BuildResult> build_image(const BuildOptions& options);

/// What an image is made of but for the agent; its identifiers follow from it.
std::string recipe_key(std::string_view recipe_sha256);
/// The key under which a built image is found again.
std::string cache_key(std::string_view recipe_sha256, std::string_view agent_sha256);

/// The programs and files that a build needs, all that are missing in one error with the packages
/// to install; also subordinate ids.
Result<void> check_build_tools();

}  // namespace pinhole::image
