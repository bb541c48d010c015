// SPDX-License-Identifier: Apache-2.0
// Folders that guests write. What the user names in one of them may be anything by the time we look: a link to a file
// of his, a FIFO. Elsewhere his own links are followed as he means them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/paths.h"

namespace pinhole::preflight {

class GuestFolders {
 public:
  GuestFolders() = default;
  /// The workspaces of all VMs by their plans, and `more` (where they exist).
  static GuestFolders of(const config::Paths& paths,
                         const std::vector<std::filesystem::path>& more = {});

  /// Absolute, with the user's own links resolved and none that a guest may have made. Below a guest's folder nothing
  /// is looked up: sys/pinned_path.h opens the result.
  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) const;

  /// A regular file of at most `limit` bytes; from a guest's folder, through sys/guest_dir.h.
  [[nodiscard]] Result<std::string> read(const std::filesystem::path& path,
                                         std::uint64_t limit) const;

 private:
  struct Place {
    std::filesystem::path path;                    // absolute
    std::optional<std::filesystem::path> beneath;  // the guest's folder it lies in
  };
  [[nodiscard]] Place locate(const std::filesystem::path& path) const;

  std::vector<std::filesystem::path> folders_;  // links resolved
};

/// A project's own file (pinhole.yaml, or what --config names): never through a link. A guest may write the folder.
Result<std::string> read_project_file(const std::filesystem::path& file);

}  // namespace pinhole::preflight
