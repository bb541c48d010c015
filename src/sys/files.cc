// SPDX-License-Identifier: Apache-2.0
#include "sys/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/sha256.h"
#include "sys/user.h"

namespace pinhole::sys {
namespace {

/// O_NONBLOCK so that a FIFO in the place of a file is an error and not a wait.
Result<Fd> open_regular(const fs::path& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return fail("cannot open {}: {}", path.string(), errno_text(errno));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0)
    return fail("cannot inspect {}: {}", path.string(), errno_text(errno));
  if (!S_ISREG(info.st_mode)) {
    return fail("cannot read {}: it is {}, not a file", path.string(),
                S_ISDIR(info.st_mode) ? "a folder" : "a special file");
  }
  return file;
}

}  // namespace

Result<std::string> read_file(const fs::path& path, std::uint64_t limit) {
  PINHOLE_TRY(const Fd file, open_regular(path));
  std::string content;
  std::array<char, 65536> chunk;
  for (;;) {
    const ssize_t n = ::read(file.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("cannot read {}: {}", path.string(), errno_text(errno));
    if (n == 0) return content;
    content.append(chunk.data(), static_cast<std::size_t>(n));
    if (content.size() > limit) return fail("{} is larger than {} bytes", path.string(), limit);
  }
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("cannot write: {}", errno_text(errno));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> write_file_atomic(const fs::path& path, std::string_view content, int mode) {
  const fs::path temporary = path.string() + ".tmp-" + random_hex(6);
  const auto give_up = [&](std::string_view doing, int error) {
    ::unlink(temporary.c_str());
    return fail("cannot {} {}: {}", doing, path.string(), errno_text(error));
  };
  Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                 static_cast<mode_t>(mode)));
  if (!file) return fail("cannot create {}: {}", path.string(), errno_text(errno));
  if (auto written = write_all(file.get(), content); !written) return give_up("write", errno);
  if (::fsync(file.get()) != 0) return give_up("write", errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up("replace", errno);
  return {};
}

Result<Fd> open_append(const fs::path& path) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail("cannot open {}: {}", path.string(), errno_text(errno));
  return file;
}

Result<void> make_private_dir(const fs::path& path) {
  std::error_code error;
  if (path.has_parent_path() && !fs::exists(path.parent_path(), error)) {
    PINHOLE_TRY_VOID(make_private_dir(path.parent_path()));
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail("cannot create folder {}: {}", path.string(), errno_text(errno));
  }
  struct stat info{};
  // A link that somebody else planted below /tmp would lead us, and our removals, elsewhere.
  if (::lstat(path.c_str(), &info) != 0) {
    return fail("cannot inspect {}: {}", path.string(), errno_text(errno));
  }
  if (!S_ISDIR(info.st_mode)) return fail("{} is not a folder", path.string());
  if (info.st_uid != ::getuid()) return fail("folder {} belongs to another user", path.string());
  if ((info.st_mode & 022) != 0) {
    return fail(Error{.message = fmt::format("folder {} can be written by others", path.string()),
                      .fix = fmt::format("chmod go-w {}", path.string())});
  }
  return {};
}

Result<void> remove_tree(const fs::path& path) {
  // libstdc++ 12 walks with openat/unlinkat and never follows a link (CVE-2022-21658 is mended
  // there).
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail("cannot remove {}: {}", path.string(), error.message());
  return {};
}

Result<std::string> sha256_file(const fs::path& path) {
  PINHOLE_TRY(const Fd file, open_regular(path));
  const auto cannot_read = [&] {
    return fail("cannot read {}: {}", path.string(), errno_text(errno));
  };
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) return cannot_read();
  Sha256 hash;
  std::vector<std::uint8_t> chunk(std::size_t{1} << 20);
  const std::vector<std::uint8_t> zeros(chunk.size());
  for (off_t at = 0; at < size;) {
    // A hole is not read: the kernel would fill its cache with pages of zeros, four times as slow as hashing them.
    off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0) data = errno == ENXIO ? size : at;
    const auto left = static_cast<std::size_t>((data > at ? data : size) - at);
    const std::size_t wanted = std::min(left, chunk.size());
    if (data > at) {
      hash.update(std::span(zeros).first(wanted));
      at += static_cast<off_t>(wanted);
      continue;
    }
    const ssize_t n = ::pread(file.get(), chunk.data(), wanted, at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot_read();
    if (n == 0) return hash.finish_hex();  // it became shorter
    hash.update(std::span(chunk).first(static_cast<std::size_t>(n)));
    at += n;
  }
  return hash.finish_hex();
}

namespace {

bool is_at(const Fd& file, const fs::path& path) {
  struct stat ours{}, named{};
  return ::fstat(file.get(), &ours) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

Result<std::optional<Fd>> lock_at_once(const fs::path& path, int how) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return fail("cannot open lock file {}: {}", path.string(), errno_text(errno));
    const bool taken = ::flock(file.get(), how | LOCK_NB) == 0;
    if (!taken && errno != EWOULDBLOCK)
      return fail("cannot lock {}: {}", path.string(), errno_text(errno));
    // Who had the lock may have removed the file with its folder: a lock on that keeps nobody out.
    if (is_at(file, path)) return taken ? std::optional<Fd>(std::move(file)) : std::nullopt;
  }
  return std::optional<Fd>();  // somebody goes on replacing it
}

}  // namespace

Result<std::optional<Fd>> try_lock(const fs::path& path) { return lock_at_once(path, LOCK_EX); }
Result<std::optional<Fd>> try_shared_lock(const fs::path& path) {
  return lock_at_once(path, LOCK_SH);
}

std::optional<Fd> inherited_lock(int fd, const fs::path& path) {
  struct stat ours{}, expected{};
  if (::fstat(fd, &ours) != 0 || ::stat(path.c_str(), &expected) != 0) return std::nullopt;
  if (ours.st_dev != expected.st_dev || ours.st_ino != expected.st_ino) return std::nullopt;
  // Succeeds at once on the very description that holds it, and on nobody else's.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    return std::nullopt;
  return Fd(fd);
}

Result<TempDir> TempDir::make(const fs::path& parent) {
  const fs::path folder = parent.empty() ? fs::path(env("TMPDIR").value_or("/tmp")) : parent;
  std::string pattern = (folder / "pinhole-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    return fail("cannot create a temporary folder in {}: {}", folder.string(), errno_text(errno));
  }
  return TempDir(pattern);
}

TempDir& TempDir::operator=(TempDir&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TempDir::~TempDir() {
  if (!path_.empty()) (void)remove_tree(path_);
}

fs::path TempDir::release() { return std::exchange(path_, {}); }

Result<std::uint64_t> free_space(const fs::path& path) {
  fs::path existing = path;
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_parent_path() &&
         existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  struct statvfs info{};
  if (::statvfs(existing.c_str(), &info) != 0) {
    return fail("cannot tell the free space of {}: {}", existing.string(), errno_text(errno));
  }
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace pinhole::sys
