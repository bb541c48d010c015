// SPDX-License-Identifier: Apache-2.0
#include "sys/guest_dir.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

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

}  // namespace

Result<GuestDir> GuestDir::open(const std::filesystem::path& path) {
  Fd folder(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail("cannot open folder {}: {}", path.string(), errno_text(errno));
  return GuestDir(std::move(folder));
}

Result<std::string> GuestDir::read(const std::string& relative, std::uint64_t limit) const {
  const Fd file = open_beneath(fd_.get(), relative, O_RDONLY, 0);
  if (!file) return fail("cannot open {} in the shared folder: {}", relative, errno_text(errno));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail("{} in the shared folder is not a regular file", relative);
  }
  std::string content;
  std::array<char, 16384> chunk;
  for (;;) {
    const ssize_t n = ::read(file.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("cannot read {} in the shared folder: {}", relative, errno_text(errno));
    if (n == 0) return content;
    content.append(chunk.data(), static_cast<std::size_t>(n));
    if (content.size() > limit)
      return fail("{} in the shared folder is larger than {} bytes", relative, limit);
  }
}

Result<void> GuestDir::create(const std::string& relative, std::string_view content) const {
  const Fd file = open_beneath(fd_.get(), relative, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return fail("cannot create {} in the shared folder: {}", relative, errno_text(errno));
  return write_all(file.get(), content);
}

}  // namespace pinhole::sys
