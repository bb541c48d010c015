// SPDX-License-Identifier: Apache-2.0
// Removes folders that a guest filled.
#pragma once

#include <filesystem>

#include "base/error.h"

namespace pinhole::review {

/// Removes everything in a folder, however deep and whatever its names and modes: folders in it are moved up and
/// emptied there, so neither the depth of what a guest made nor the length of its paths counts. Follows no link, and
/// enters no other file system. The folder itself stays. A missing one is fine.
Result<void> empty_folder(const std::filesystem::path& path);

}  // namespace pinhole::review
