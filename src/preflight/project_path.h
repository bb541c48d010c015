// SPDX-License-Identifier: Apache-2.0
// Paths that a project file names. The file is trusted by its content, but the guest writes the
// folder around it: a name in it may be a link to anything of the user's by now.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::preflight {

/// `inner` is `outer` or lies below it; both absolute and normal, nothing is looked up.
bool is_inside(const std::filesystem::path& inner, const std::filesystem::path& outer);

/// Where `name` leads from the project's folder, links resolved; an error where that is outside.
/// What does not exist is no error yet. `key` is the name's key in the file ("user_data"), which is
/// also its flag (--user-data).
Result<std::filesystem::path> path_in_project(const std::filesystem::path& folder,
                                              std::string_view name, std::string_view key);

/// The content of a file that the project names, read through no link at all.
Result<std::string> read_in_project(const std::filesystem::path& folder, std::string_view name,
                                    std::string_view key, std::uint64_t limit);

}  // namespace pinhole::preflight
