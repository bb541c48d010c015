// SPDX-License-Identifier: Apache-2.0
// A path that was checked once and is opened later.
#pragma once

#include <filesystem>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// Opens an absolute path with all links resolved. Where a component has become a symbolic link since, that is an
/// error: somebody who may write to a folder on the way (another guest, through a shared folder) cannot lead us
/// elsewhere (openat2(2), RESOLVE_NO_SYMLINKS). `flags` are open(2)'s; O_CLOEXEC is added, and O_NONBLOCK, so that a
/// FIFO in the file's place does not hold us.
Result<Fd> open_pinned(const std::filesystem::path& path, int flags);

/// The same, and it is a regular file.
Result<Fd> open_pinned_file(const std::filesystem::path& path, int flags);

}  // namespace pinhole::sys
