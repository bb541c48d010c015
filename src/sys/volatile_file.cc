// SPDX-License-Identifier: Apache-2.0
#include "sys/volatile_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/fd.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::sys {

Result<void> write_volatile_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = path.string() + ".tmp-" + random_hex(6);
  Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail("cannot create {}: {}", path.string(), errno_text(errno));
  auto written = write_all(file.get(), content);
  if (written && ::rename(temporary.c_str(), path.c_str()) == 0) return {};
  if (written) written = fail("cannot replace {}: {}", path.string(), errno_text(errno));
  ::unlink(temporary.c_str());
  return written;
}

}  // namespace pinhole::sys
