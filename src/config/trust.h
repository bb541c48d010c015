// SPDX-License-Identifier: Apache-2.0
// Which project files the user has approved, by path and content. A pinhole.yaml lies in a folder
// that the guest can write, so it counts only while its content is the approved one.
//
// trusted.yaml in the user's config folder:
//   version: 1
//   trusted:
//     - {path: "/home/ana/project/pinhole.yaml", sha256: "…64 hex digits…"}
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::config {

class TrustStore {
 public:
  /// A missing file is an empty store; a damaged one is an error, never an approval.
  static Result<TrustStore> load(const std::filesystem::path& file);

  [[nodiscard]] bool trusts(const std::filesystem::path& path, std::string_view sha256) const;
  /// Approves this content at this path and withdraws every earlier content there; written at once.
  Result<void> add(const std::filesystem::path& path, std::string_view sha256);

 private:
  struct Entry {
    std::string path;
    std::string sha256;
  };
  std::filesystem::path file_;
  std::vector<Entry> entries_;
};

}  // namespace pinhole::config
