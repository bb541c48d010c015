// SPDX-License-Identifier: Apache-2.0
#include "sys/sparse_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "base/printable.h"
#include "sys/files.h"

namespace pinhole::sys {
namespace {

constexpr off_t kPiece = off_t{64} << 20;
constexpr std::size_t kBuffer = std::size_t{1} << 20;

struct Copy {
  const Fd& from;
  const Fd& to;
};

/// For file systems between which the kernel does not copy.
Result<off_t> copy_by_hand(const Copy& copy, off_t at, off_t size) {
  std::vector<char> buffer(std::min(kBuffer, static_cast<std::size_t>(size)));
  const ssize_t n = ::pread(copy.from.get(), buffer.data(), buffer.size(), at);
  if (n < 0) return fail("cannot read: {}", errno_text(errno));
  if (::lseek(copy.to.get(), at, SEEK_SET) != at) return fail("cannot seek: {}", errno_text(errno));
  PINHOLE_TRY_VOID(
      write_all(copy.to.get(), std::string_view(buffer.data(), static_cast<std::size_t>(n))));
  return static_cast<off_t>(n);
}

/// How much of `size` was copied; 0 when the source has become shorter.
Result<off_t> copy_piece(const Copy& copy, off_t at, off_t size) {
  off_t in = at;
  off_t out = at;
  const ssize_t n = ::copy_file_range(copy.from.get(), &in, copy.to.get(), &out,
                                      static_cast<std::size_t>(size), 0);
  if (n >= 0) return static_cast<off_t>(n);
  if (errno == EINTR) return copy_piece(copy, at, size);
  if (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)
    return copy_by_hand(copy, at, size);
  return fail("cannot copy: {}", errno_text(errno));
}

Result<void> copy_data(const Copy& copy, off_t size, const std::function<bool()>& go_on) {
  off_t at = 0;
  while (at < size) {
    const off_t data = ::lseek(copy.from.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};  // a hole up to the end
    if (data < 0) return fail("cannot read: {}", errno_text(errno));
    const off_t hole = ::lseek(copy.from.get(), data, SEEK_HOLE);
    if (hole < 0) return fail("cannot read: {}", errno_text(errno));
    for (at = data; at < hole;) {
      if (go_on && !go_on())
        return fail(Error{.message = "stopped", .exit_status = 130, .code = "cancelled"});
      PINHOLE_TRY(const off_t copied, copy_piece(copy, at, std::min(kPiece, hole - at)));
      if (copied == 0) return fail("it became shorter meanwhile");
      at += copied;
    }
  }
  return {};
}

}  // namespace

Result<void> copy_sparse(const Fd& from, const Fd& to, const std::function<bool()>& go_on) {
  struct stat info{};
  if (::fstat(from.get(), &info) != 0) return fail("cannot read: {}", errno_text(errno));
  if (::ioctl(to.get(), FICLONE, from.get()) == 0) return {};
  if (::ftruncate(to.get(), info.st_size) != 0)
    return fail("cannot make it as long: {}", errno_text(errno));
  return copy_data({.from = from, .to = to}, info.st_size, go_on);
}

Result<void> copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to,
                         const std::function<bool()>& go_on) {
  const auto what = fmt::format("while copying {}", printable(from.string()));
  const Fd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info{};
  if (!source || ::fstat(source.get(), &info) != 0)
    return fail(Error{.message = errno_text(errno)}.context(what));
  if (!S_ISREG(info.st_mode))
    return fail(Error{.message = "it is not a regular file"}.context(what));
  const Fd target(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!target) return fail("cannot create {}: {}", printable(to.string()), errno_text(errno));
  auto copied = copy_sparse(source, target, go_on);
  if (!copied) return fail(std::move(copied).error().context(what));
  return {};
}

}  // namespace pinhole::sys
