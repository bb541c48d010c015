// SPDX-License-Identifier: Apache-2.0
// Opening what is to be judged.
#pragma once

#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::artifact {

/// For reading, a regular file; links on the way are the user's or the distribution's, and resolved first.
Result<Fd> open_to_judge(const std::filesystem::path& path);

/// The first problem as the error, with the messages of others as details.
Result<void> first_of(std::vector<Error> problems);

}  // namespace pinhole::artifact
