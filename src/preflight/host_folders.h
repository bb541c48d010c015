// SPDX-License-Identifier: Apache-2.0
// Whether two folders of this host have files in common, by whatever names: one inside the other, links in the path, bind
// mounts. Files with several names (hard links) are not looked for.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::preflight {

class HostFolders {
 public:
  /// As things are mounted now.
  static Result<HostFolders> read();
  /// Pure; `mountinfo` as in proc_pid_mountinfo(5). A line that is not understood is left out.
  explicit HostFolders(std::string_view mountinfo);

  /// Both absolute and normal. What does not exist yet counts as below the part that does.
  [[nodiscard]] bool have_files_in_common(const std::filesystem::path& one,
                                          const std::filesystem::path& other) const;

 private:
  struct Mount {
    std::string device;           // "254:1"
    std::filesystem::path root;   // of the file system, what is mounted
    std::filesystem::path point;  // where
  };
  struct Place {
    std::string_view device;
    std::filesystem::path path;  // in the file system
  };
  [[nodiscard]] std::vector<Place> places_of(const std::filesystem::path& folder) const;
  std::vector<Mount> mounts_;
};

}  // namespace pinhole::preflight
