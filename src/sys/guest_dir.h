// SPDX-License-Identifier: Apache-2.0
// The one way to touch a folder that the guest can write. Every name in it is the attacker's:
// links, FIFOs, devices, huge files. openat2(2) with RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS
// does the walking.
#pragma once

#include <cstdint>
#include <filesystem>
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
  /// A regular file of at most `limit` bytes; anything else is an error that says what is there, never a wait.
  [[nodiscard]] Result<std::string> read(const std::string& relative, std::uint64_t limit) const;
  /// A new file (O_EXCL): never written over, never through a link.
  [[nodiscard]] Result<void> create(const std::string& relative, std::string_view content) const;

 private:
  explicit GuestDir(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace pinhole::sys
