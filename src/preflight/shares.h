// SPDX-License-Identifier: Apache-2.0
// From words to shares: the workspace, other folders of the user's, and volumes that are kept.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/paths.h"
#include "config/share.h"
#include "preflight/prepare.h"
#include "sys/user.h"

namespace pinhole::preflight {

/// Everything is checked, and nothing made: the folders of volumes may be missing. `notes` gets what
/// the user should think about.
Result<std::vector<config::Share>> choose_shares(const config::Paths& paths,
                                                 const PrepareOptions& options,
                                                 const sys::User& user,
                                                 std::vector<std::string>& notes);

/// Where the volumes of a project are, by the folder that it is worked on in (absolute, links
/// resolved). Of a project alone: what one run leaves in a volume, the next one executes.
std::filesystem::path cache_folder(const config::Paths& paths,
                                   const std::filesystem::path& project);
/// Those of all projects.
std::filesystem::path caches_folder(const config::Paths& paths);
/// In a project's folder of volumes: the folder that it belongs to. No volume is called like that.
inline constexpr const char* kCacheProject = ".project";

/// Makes what is missing of the volumes among them.
Result<void> make_caches(const std::vector<config::Share>& shares, const PrepareOptions& options);

}  // namespace pinhole::preflight
