// SPDX-License-Identifier: Apache-2.0
// Files and folders of ours: bounded reads, atomic writes, locks, temporary folders. For a folder
// that the guest can write, use sys/guest_dir.h and nothing else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

namespace fs = std::filesystem;

/// The whole of a regular file of at most `limit` bytes; a longer one, a folder, a FIFO or a device
/// is an error.
Result<std::string> read_file(const fs::path& path, std::uint64_t limit);

/// Written to a temporary name beside `path`, synced, renamed: a reader sees the old content or the
/// new one.
Result<void> write_file_atomic(const fs::path& path, std::string_view content, int mode = 0600);

/// Opens for appending, creating it with mode 0600; one write(2) of a line is never torn by
/// another.
Result<Fd> open_append(const fs::path& path);

/// All of `bytes` to a descriptor, through short writes and EINTR.
Result<void> write_all(int fd, std::string_view bytes);

/// Creates `path` and its parents, 0700 where new; an existing folder of another user or writable
/// by others is an error.
Result<void> make_private_dir(const fs::path& path);

/// Removes a folder of ours with all that is in it, never following a symbolic link out of it.
/// Missing is success.
Result<void> remove_tree(const fs::path& path);

/// SHA-256 of a regular file, as hexadecimal.
Result<std::string> sha256_file(const fs::path& path);

/// An exclusive flock on an open file; released when it dies, however that happens.
/// Nothing when somebody else holds it.
Result<std::optional<Fd>> try_lock(const fs::path& path);

/// A shared one: many may hold it at once, and nobody then has the exclusive one.
Result<std::optional<Fd>> try_shared_lock(const fs::path& path);

/// The lock on `path` that a parent process took and handed down as descriptor `fd`; nothing when that descriptor is
/// something else.
std::optional<Fd> inherited_lock(int fd, const fs::path& path);

/// A private folder that disappears with its owner.
class TempDir {
 public:
  /// Below `parent` ($TMPDIR or /tmp when empty).
  static Result<TempDir> make(const fs::path& parent = {});
  TempDir(TempDir&&) noexcept = default;
  TempDir& operator=(TempDir&& other) noexcept;
  ~TempDir();
  [[nodiscard]] const fs::path& path() const { return path_; }
  /// Leaves the folder in place and gives its path up.
  fs::path release();

 private:
  explicit TempDir(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

/// Free bytes for an ordinary user on the file system that holds `path` (its nearest existing
/// parent).
Result<std::uint64_t> free_space(const fs::path& path);

}  // namespace pinhole::sys
