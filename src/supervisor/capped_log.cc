// SPDX-License-Identifier: Apache-2.0
#include "supervisor/capped_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "sys/files.h"

namespace pinhole::supervisor {

Result<CappedLog> CappedLog::open(std::filesystem::path path) {
  PINHOLE_TRY(Fd file, sys::open_append(path));
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  return CappedLog(std::move(path), std::move(file), error ? 0 : size);
}

void CappedLog::rotate() {
  std::error_code error;
  std::filesystem::rename(path_, path_.string() + ".1", error);
  auto fresh = sys::open_append(path_);
  if (!fresh) return;  // no inode left: the old file goes on for now
  file_ = *std::move(fresh);
  size_ = 0;
}

bool CappedLog::write_whole(std::string_view bytes) {
  if (sys::write_all(file_.get(), bytes)) {
    size_ += bytes.size();
    return true;
  }
  // Part of it may be there.
  if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) return false;
  return false;
}

void CappedLog::write(std::string_view bytes, std::string_view note_prefix) {
  if (size_ > kLimit) rotate();
  if (lost_ > 0) {
    const std::string note =
        fmt::format("{}[{} pieces of this log were lost: no space left]\n", note_prefix, lost_);
    if (write_whole(note)) lost_ = 0;
  }
  if (lost_ > 0 || !write_whole(bytes)) ++lost_;
}

void cap_shared_log(const std::filesystem::path& path, std::uint64_t limit) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return;
  if (static_cast<std::uint64_t>(info.st_size) <= limit) return;
  const Fd aside(::open((path.string() + ".1").c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  off_t from = 0;
  while (aside && from < info.st_size) {
    // A full disk keeps what fits: that this log stays small matters more.
    const ssize_t n = ::copy_file_range(file.get(), &from, aside.get(), nullptr,
                                        static_cast<std::size_t>(info.st_size - from), 0);
    if (n <= 0) break;
  }
  [[maybe_unused]] const int cut = ::ftruncate(file.get(), 0);
}

}  // namespace pinhole::supervisor
