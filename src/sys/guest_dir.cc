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
#include <memory>
#include <string_view>

#include "sys/files.h"

namespace pinhole::sys {
namespace {

Fd open_beneath(int folder, const std::string& relative, std::uint64_t flags, std::uint64_t mode) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
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
