// SPDX-License-Identifier: Apache-2.0
// Copies of large files that are mostly holes.
#pragma once

#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// A new file `to` (mode 0600; an existing one is an error) with the content of the regular file `from`. Where the file
/// system can, both share their blocks until one is written (FICLONE); else data is copied inside the kernel and holes
/// stay holes. `go_on` is asked between pieces of at most 64 MiB; false ends it with code "cancelled". What was
/// begun stays for the caller to remove.
Result<void> copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to,
                         const std::function<bool()>& go_on = {});

/// The same from one open regular file to another, which is empty.
Result<void> copy_sparse(const Fd& from, const Fd& to, const std::function<bool()>& go_on = {});

}  // namespace pinhole::sys
