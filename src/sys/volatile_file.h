// SPDX-License-Identifier: Apache-2.0
// A file that is worth nothing after the host's end.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace pinhole::sys {

/// As write_file_atomic() (sys/files.h), mode 0600, without its syncs: a reader sees the old content or the new one, but after
/// a power cut perhaps an empty file.
Result<void> write_volatile_file(const std::filesystem::path& path, std::string_view content);

}  // namespace pinhole::sys
