// SPDX-License-Identifier: Apache-2.0
// An ext4 file system inside a disk image, read and written by debugfs(8): no root, no mount, no kernel that parses what somebody
// else made. debugfs runs confined; its exit status says nothing, so what it wrote is read back. Inner header of import.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

/// What is at a path, the last component not followed.
struct GuestEntry {
  enum class Type { missing, file, folder, link, other };
  Type type = Type::missing;
  unsigned mode = 0;  ///< its permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;
  std::string target = {};  ///< of a short link
  [[nodiscard]] bool exists() const { return type != Type::missing; }
  bool operator==(const GuestEntry&) const = default;
};

/// What debugfs says of the paths that it was asked for, by path. Others are missing.
std::map<std::string, GuestEntry> parse_stats(std::string_view output);

struct GuestFile {
  std::string path;  ///< absolute, plain: letters, digits and "/._@+-" without ".."
  std::string content;
  unsigned mode = 0644;
};
struct GuestLink {
  std::string path;
  std::string target;
};
/// All of it belongs to root; folders that are missing are made (0755). What is there is replaced.
struct GuestChanges {
  std::vector<GuestFile> files = {};
  std::vector<GuestLink> links = {};
  std::vector<std::string> removed = {};
};

/// Whether debugfs can be told a path of the host's: its commands have no way to write '"' and '?'.
bool debugfs_takes(const std::filesystem::path& path);

/// Errors have code `import_root_too_new` where the host's debugfs does not know the file system's features.
class GuestFiles {
 public:
  /// `disk` holds the file system from `offset` on. `work` is an empty folder for what goes in and out.
  GuestFiles(std::filesystem::path disk, std::uint64_t offset, std::filesystem::path work)
      : disk_(std::move(disk)), offset_(offset), work_(std::move(work)) {}

  Result<std::map<std::string, GuestEntry>> look(const std::vector<std::string>& paths) const;
  /// The names in a folder that are plain; at most kMostNames. Empty where it is no folder.
  Result<std::vector<std::string>> names(const std::string& folder) const;
  /// The content of a regular file of at most `limit` bytes; empty where it is something else. Links are followed, a few.
  Result<std::string> read(const std::string& path, std::uint64_t limit) const;
  /// Writes, and reads back: an error where something is not as it should be.
  Result<void> apply(const GuestChanges& changes) const;

  static constexpr std::size_t kMostNames = 4096;

 private:
  Result<std::string> run(const std::string& script, bool write) const;
  Result<std::string> dump(const std::string& path, std::uint64_t limit) const;
  Result<std::string> script_of(const GuestChanges& changes) const;
  Result<void> verify(const GuestChanges& changes) const;
  [[nodiscard]] std::filesystem::path back(std::ptrdiff_t number) const {
    return work_ / ("back-" + std::to_string(number));
  }

  std::filesystem::path disk_;
  std::uint64_t offset_;
  std::filesystem::path work_;
};

}  // namespace pinhole::image
