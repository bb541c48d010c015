// SPDX-License-Identifier: Apache-2.0
#include "sys/pinned_path.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace pinhole::sys {

Result<Fd> open_pinned(const std::filesystem::path& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  if ((flags & O_PATH) == 0) how.flags |= O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  Fd file(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how))));
  if (file) return file;
  if (errno != ELOOP) return fail("cannot open {}: {}", path.string(), errno_text(errno));
  return fail(Error{.message = fmt::format("cannot open {}: a symbolic link has taken the place of "
                                           "a file or folder on the way",
                                           path.string()),
                    .fix = "find out who may write there, then start again"});
}

Result<Fd> open_pinned_file(const std::filesystem::path& path, int flags) {
  PINHOLE_TRY(Fd file, open_pinned(path, flags));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail("cannot open {}: it is not a regular file", path.string());
  return file;
}

}  // namespace pinhole::sys
