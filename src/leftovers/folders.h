// SPDX-License-Identifier: Apache-2.0
// What the search and the removal know of folders and locks alike.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/paths.h"

namespace pinhole::leftovers {

/// Sorted; none where the folder cannot be read. Ours are small: what is beyond a limit is left for the next time.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// Whether somebody holds the lock; makes no lock file where there is none.
bool is_locked(const std::filesystem::path& lock);

/// A folder itself and no link to one, of this user, that nobody else writes in.
bool is_ours_alone(const std::filesystem::path& folder);
/// A folder of ours, in a folder of ours, with the folders and sockets of VM `name`, its copy of resolv.conf, and nothing else
/// down to the last file: what a record names is not removed for its word.
bool is_socket_folder(const std::filesystem::path& folder, std::string_view name);
/// Removes exactly those. What is no such folder stays as it is, and is an error; a missing one is success.
Result<void> remove_socket_folder(const std::filesystem::path& folder);
/// Whether somebody answers there.
bool answers(const std::filesystem::path& socket_folder);

/// Files of which only the last rename is missing: `X.tmp-…`, `X.new`, and the folders that they are made in.
bool is_half_written(std::string_view name);

/// Nobody has changed it for so long.
bool is_settled(const std::filesystem::path& path, std::chrono::system_clock::time_point now);

/// Where a VM's folder goes while it is removed, and the VM's name back; empty for any other name.
std::string removed_name(std::string_view file_name);

}  // namespace pinhole::leftovers
