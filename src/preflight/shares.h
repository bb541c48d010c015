// SPDX-License-Identifier: Apache-2.0
// From words to shares: the workspace, other folders of the user's, and volumes that are kept.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
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

/// Makes what is missing of the volumes among them. The locks are use_caches()'s, held since before anything was made.
Result<std::vector<Fd>> make_caches(const std::vector<config::Share>& shares,
                                    const PrepareOptions& options);

/// That the volumes among them are in use, by this VM as by others: nobody removes them until the locks go. Who prepares a VM
/// holds them until its supervisor does, and that as long as it runs. An error where one is being removed just now.
Result<std::vector<Fd>> use_caches(const std::vector<config::Share>& shares);
/// That nobody uses a volume (`folder`: the volume's), and nobody will while the locks are held; nothing where somebody does,
/// or is making one of the same project.
Result<std::optional<std::vector<Fd>>> keep_from_use(const std::filesystem::path& folder);

}  // namespace pinhole::preflight
