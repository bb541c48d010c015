// SPDX-License-Identifier: Apache-2.0
// What the search and the removal know of folders and locks alike.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "config/paths.h"

namespace pinhole::leftovers {

/// Sorted; none where the folder cannot be read. Ours are small: what is beyond a limit is left for the next time.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// Whether somebody holds the lock; makes no lock file where there is none.
bool is_locked(const std::filesystem::path& lock);

/// A folder of ours with the sockets of VM `name`, and nothing else in it: what a record names is not removed for its word.
bool is_socket_folder(const std::filesystem::path& folder, std::string_view name);
/// Whether somebody answers there.
bool answers(const std::filesystem::path& socket_folder);

/// Files of which only the last rename is missing: `X.tmp-…`, `X.new`, and the folders that they are made in.
bool is_half_written(std::string_view name);

/// Nobody has changed it for so long.
bool is_settled(const std::filesystem::path& path, std::chrono::system_clock::time_point now);

/// Where a VM's folder goes while it is removed, and the VM's name back; empty for any other name.
std::string removed_name(std::string_view file_name);

}  // namespace pinhole::leftovers
