// SPDX-License-Identifier: Apache-2.0
// A folder in which something is tried. It goes with its owner; should that be killed, `pinhole gc` knows it by its name
// (leftovers/trials.h).
#pragma once

#include <filesystem>

#include "base/error.h"

namespace pinhole::doctor {

class TrialFolder {
 public:
  /// Below `parent` ($TMPDIR or /tmp when empty).
  static Result<TrialFolder> make(const std::filesystem::path& parent = {});
  TrialFolder(TrialFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TrialFolder& operator=(TrialFolder&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~TrialFolder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit TrialFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace pinhole::doctor
