// SPDX-License-Identifier: Apache-2.0
// The one way to touch a folder that the guest can write. Every name in it is the attacker's:
// links, FIFOs, devices, huge files. openat2(2) with RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS
// does the walking.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

class GuestDir {
 public:
  static Result<GuestDir> open(const std::filesystem::path& path);

  struct Entry {
    std::string name;
    bool regular = false;  // a file of its own: no link, folder or special file
  };
  /// What lies directly in it, in no order; at most `most` entries, the rest is passed over.
  [[nodiscard]] Result<std::vector<Entry>> list(std::size_t most) const;
  enum class Kind { file, folder, link, other };
  struct Named {
    std::string name;
    Kind kind = Kind::other;
  };
  /// What lies directly in a folder below ("" is this one), in no order; at most `most`. The error's code is "gone"
  /// where no folder is to be reached by that name, "elsewhere" where that is on another file system.
  [[nodiscard]] Result<std::vector<Named>> names(const std::string& relative,
                                                 std::size_t most) const;
  /// What the kernel knows of one thing below. A guest can set the time of the last write, not that of the last change.
  struct Look {
    Kind kind = Kind::other;
    std::uint64_t device = 0, inode = 0, links = 0, size = 0;
    std::uint32_t mode = 0;
    std::int64_t written_ns = 0, changed_ns = 0;
    std::string target = {};  // of a link
    bool operator==(const Look&) const = default;
  };
  /// Nothing where there is nothing, or only by way of a link or of another file system.
  [[nodiscard]] std::optional<Look> look(const std::string& relative) const;
  /// To a path of ours that does not exist yet, whatever it is; the error's code is "elsewhere" where that is on
  /// another file system, "refused" where the owner of the thing or its folder does not let us.
  [[nodiscard]] Result<void> move_out(const std::string& relative,
                                      const std::filesystem::path& target) const;
  /// Gives it another name in its folder, which nothing has yet.
  [[nodiscard]] Result<void> rename(const std::string& relative, const std::string& name) const;
  /// A regular file of at most `limit` bytes; anything else is an error that says what is there, never a wait.
  [[nodiscard]] Result<std::string> read(const std::string& relative, std::uint64_t limit) const;
  /// A new file (O_EXCL): never written over, never through a link.
  [[nodiscard]] Result<void> create(const std::string& relative, std::string_view content) const;

 private:
  [[nodiscard]] Result<Fd> parent_of(const std::string& relative) const;
  explicit GuestDir(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace pinhole::sys
