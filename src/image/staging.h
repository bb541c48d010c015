// SPDX-License-Identifier: Apache-2.0
// The folder in the store that an image is made in, gone with its owner unless its content has moved on. Inner header of build.cc
// and import.cc.
#pragma once

#include <filesystem>
#include <utility>

#include "base/log.h"
#include "image/build_steps.h"
#include "image/store.h"

namespace pinhole::image {

class StagingGuard {
 public:
  explicit StagingGuard(std::filesystem::path folder) : staging_{std::move(folder)} {}
  StagingGuard(const StagingGuard&) = delete;
  StagingGuard& operator=(const StagingGuard&) = delete;
  ~StagingGuard() {
    // What stays is found by the next build; this one has its result either way.
    const auto removed = remove_mapped_tree(staging_.folder);
    if (!removed) log(LogLevel::warning, "{}", removed.error().message);
  }
  [[nodiscard]] const Staging& get() const { return staging_; }

 private:
  Staging staging_;
};

}  // namespace pinhole::image
