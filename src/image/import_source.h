// SPDX-License-Identifier: Apache-2.0
// The file that is imported: read as it is, hashed, decompressed. Inner header of import.cc.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "artifact/identify.h"
#include "base/error.h"
#include "base/fd.h"

namespace pinhole::image {

/// No disk has more: what is larger is no system to boot from, or a lie.
inline constexpr std::uint64_t kLargestDisk = std::uint64_t{2} << 40;
/// Bytes that stay free for everybody else.
inline constexpr std::uint64_t kSpaceLeft = std::uint64_t{512} << 20;

/// How far a pass over bytes is, 0 to 1; false ends it with code "cancelled".
using Pass = std::function<bool(double done)>;

/// An open regular file, with what says later whether it is still the same.
class ImportSource {
 public:
  /// Links in `path` are the user's own and followed. `name` is how messages call it.
  static Result<ImportSource> open(const std::filesystem::path& path);

  [[nodiscard]] int fd() const { return file_.get(); }
  /// With its links resolved.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const std::string& shown() const { return shown_; }
  [[nodiscard]] std::uint64_t size() const { return static_cast<std::uint64_t>(info_.st_size); }
  /// What it takes on its disk: a sparse file less than its size.
  [[nodiscard]] std::uint64_t allocated() const;
  /// SHA-256 of all of it, holes unread.
  Result<std::string> sha256(const Pass& pass) const;
  /// `import_changed` where somebody wrote to it since it was opened, or another file has its name.
  [[nodiscard]] Result<void> check_unchanged() const;

 private:
  Fd file_;
  std::filesystem::path path_;
  std::string shown_;
  struct stat info_{};
};

/// `import_no_space` while something is written to `folder`; `shown` is what is imported.
Error no_space(const std::string& shown, const std::filesystem::path& folder, std::uint64_t free);

/// What comes out of `source`, which is compressed once, into the new file `to`; zeros become holes. Bounded by kLargestDisk, by the free space, and by how much more than its input it is.
Result<void> decompress(const ImportSource& source, artifact::Compression compression,
                        const std::filesystem::path& to, const Pass& pass);

}  // namespace pinhole::image
