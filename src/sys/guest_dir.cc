// SPDX-License-Identifier: Apache-2.0
#include "sys/guest_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "sys/files.h"

namespace pinhole::sys {
namespace {

Fd open_beneath(int folder, const std::string& relative, std::uint64_t flags, std::uint64_t mode) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
  if ((flags & O_PATH) == 0)
    how.flags |= O_NONBLOCK | O_NOCTTY;  // openat2 refuses what does not apply
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return Fd(static_cast<int>(::syscall(SYS_openat2, folder, relative.c_str(), &how, sizeof(how))));
}

/// Why something cannot be read, in words: errno's own ("Too many levels of symbolic links") mislead.
std::string why_not(int error) {
  switch (error) {
    case ELOOP:
      return "it is a symbolic link, or lies behind one";
    case EXDEV:
      return "it leads out of the folder";
    case ENXIO:
      return "it is a socket";
    default:
      return errno_text(error);
  }
}

GuestDir::Kind kind_in(mode_t mode) {
  if (S_ISREG(mode)) return GuestDir::Kind::file;
  if (S_ISDIR(mode)) return GuestDir::Kind::folder;
  return S_ISLNK(mode) ? GuestDir::Kind::link : GuestDir::Kind::other;
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  return S_ISREG(mode) ? "a file" : "a device";
}

Error unreadable(const std::string& relative, std::string_view why) {
  return {.message = fmt::format("cannot read {} in the shared folder: {}", relative, why),
          .fix = "a guest may have put it there: look at it, and put a plain file in its place"};
}

}  // namespace

Result<GuestDir> GuestDir::open(const std::filesystem::path& path) {
  Fd folder(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail("cannot open folder {}: {}", path.string(), errno_text(errno));
  return GuestDir(std::move(folder));
}

Result<std::vector<GuestDir::Entry>> GuestDir::list(std::size_t most) const {
  // A descriptor of its own: fd_ names the folder only, and a position in it must not be shared.
  Fd again(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!again) return fail("cannot list the shared folder: {}", errno_text(errno));
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(again.get()), ::closedir);
  if (!folder) return fail("cannot list the shared folder: {}", errno_text(errno));
  (void)again.release();  // closedir's now
  std::vector<Entry> entries;
  while (entries.size() < most) {
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat info{};
    const bool known = ::fstatat(fd_.get(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    entries.push_back({.name = name, .regular = known && S_ISREG(info.st_mode)});
  }
  return entries;
}

Result<std::vector<GuestDir::Named>> GuestDir::names(const std::string& relative,
                                                     std::size_t most) const {
  Fd again = open_beneath(fd_.get(), relative.empty() ? "." : relative, O_RDONLY | O_DIRECTORY, 0);
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(again ? ::fdopendir(again.get()) : nullptr,
                                                   ::closedir);
  if (!folder) {
    const int error = errno;
    Error refused = unreadable(relative, why_not(error));
    if (error == ENOENT || error == ENOTDIR || error == ELOOP) refused.code = "gone";
    if (error == EXDEV) refused.code = "elsewhere";
    return fail(std::move(refused));
  }
  (void)again.release();  // closedir's now
  std::vector<Named> names;
  while (names.size() < most) {
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    auto type = static_cast<mode_t>(DTTOIF(entry->d_type));
    struct stat info{};
    if (entry->d_type == DT_UNKNOWN &&
        ::fstatat(::dirfd(folder.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
      type = info.st_mode;
    names.push_back({.name = name, .kind = kind_in(type)});
  }
  return names;
}

std::optional<GuestDir::Look> GuestDir::look(const std::string& relative) const {
  const Fd thing = open_beneath(fd_.get(), relative, O_PATH, 0);
  struct stat info{};
  if (!thing || ::fstat(thing.get(), &info) != 0) return std::nullopt;
  Look look{.kind = kind_in(info.st_mode),
            .device = info.st_dev,
            .inode = info.st_ino,
            .links = info.st_nlink,
            .size = static_cast<std::uint64_t>(info.st_size),
            .mode = info.st_mode & 07777,
            .written_ns = nanoseconds(info.st_mtim),
            .changed_ns = nanoseconds(info.st_ctim)};
  if (look.kind == Kind::link) {
    std::array<char, 4096> target;
    const ssize_t n = ::readlinkat(thing.get(), "", target.data(), target.size());
    look.target.assign(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  return look;
}

Result<Fd> GuestDir::parent_of(const std::string& relative) const {
  const std::string parent = std::filesystem::path(relative).parent_path();
  Fd folder = open_beneath(fd_.get(), parent.empty() ? "." : parent, O_PATH | O_DIRECTORY, 0);
  if (!folder) return fail(unreadable(relative, why_not(errno)));
  return folder;
}

Result<void> GuestDir::move_out(const std::string& relative,
                                const std::filesystem::path& target) const {
  PINHOLE_TRY(const Fd from, parent_of(relative));
  const std::string name = std::filesystem::path(relative).filename();
  if (::renameat2(from.get(), name.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0)
    return {};
  const int error = errno;
  const bool refused = error == EACCES || error == EPERM;
  return fail(Error{.message = fmt::format("cannot move {} to {}: {}", relative, target.string(),
                                           errno_text(error)),
                    .code = error == EXDEV ? "elsewhere"
                            : refused      ? "refused"
                                           : ""});
}

Result<void> GuestDir::rename(const std::string& relative, const std::string& name) const {
  PINHOLE_TRY(const Fd folder, parent_of(relative));
  const std::string old = std::filesystem::path(relative).filename();
  if (::renameat2(folder.get(), old.c_str(), folder.get(), name.c_str(), RENAME_NOREPLACE) == 0)
    return {};
  return fail("cannot rename {} to {}: {}", relative, name, errno_text(errno));
}

Result<std::string> GuestDir::read(const std::string& relative, std::uint64_t limit) const {
  const Fd file = open_beneath(fd_.get(), relative, O_RDONLY, 0);
  if (!file) return fail(unreadable(relative, why_not(errno)));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return fail(unreadable(relative, errno_text(errno)));
  if (!S_ISREG(info.st_mode))
    return fail(unreadable(relative, fmt::format("it is {}, not a file", kind_of(info.st_mode))));
  const Error too_long = unreadable(relative, fmt::format("it is larger than {} bytes", limit));
  if (static_cast<std::uint64_t>(info.st_size) > limit) return fail(too_long);
  std::string content;
  std::array<char, 16384> chunk;
  for (;;) {
    const ssize_t n = ::read(file.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(unreadable(relative, errno_text(errno)));
    if (n == 0) return content;
    content.append(chunk.data(), static_cast<std::size_t>(n));
    if (content.size() > limit) return fail(too_long);  // it grew
  }
}

Result<void> GuestDir::create(const std::string& relative, std::string_view content) const {
  const Fd file = open_beneath(fd_.get(), relative, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return fail("cannot create {} in the shared folder: {}", relative, errno_text(errno));
  return write_all(file.get(), content);
}

}  // namespace pinhole::sys
