// SPDX-License-Identifier: Apache-2.0
#include "agent/guest_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/fd.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;

/// Where the content really lies; the path itself where it leads nowhere yet.
fs::path followed(const fs::path& file) {
  std::error_code error;
  const fs::path real = fs::canonical(file, error);
  return error ? file : real;
}

}  // namespace

std::string guest_file(const fs::path& file) {
  std::error_code error;
  const fs::path real = fs::canonical(file, error);
  if (error) return {};
  return sys::read_file(real, kGuestFileBytes).value_or("");
}

Result<void> put_guest_file(const fs::path& file, std::string_view content, Links links) {
  std::error_code error;
  const fs::path real = links == Links::follow ? followed(file) : file;
  const bool there = fs::symlink_status(real, error).type() == fs::file_type::regular;
  if (there && guest_file(real) == content) return {};
  fs::create_directories(real.parent_path(), error);
  const fs::path temporary = real.string() + ".pinhole-new";
  ::unlink(temporary.c_str());
  const Fd out(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out) return fail("cannot write {}: {}", real.string(), errno_text(errno));
  auto written = sys::write_all(out.get(), content);
  mode_t mode = 0644;
  struct stat old{};
  if (::lstat(real.c_str(), &old) == 0 && S_ISREG(old.st_mode)) {
    mode = old.st_mode & 07777;
    [[maybe_unused]] const int given = ::fchown(out.get(), old.st_uid, old.st_gid);
  }
  if (written && (::fchmod(out.get(), mode) != 0 || ::rename(temporary.c_str(), real.c_str()) != 0))
    written = fail("cannot write {}: {}", real.string(), errno_text(errno));
  if (!written) ::unlink(temporary.c_str());
  return written;
}

}  // namespace pinhole::agent
