// SPDX-License-Identifier: Apache-2.0
// Who holds a lock.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace pinhole::leftovers {

/// The processes that took a flock on `path`, by /proc/locks. It names who took it: where that process handed the open file
/// down and is gone, nobody. Empty: none that can be told.
std::vector<pid_t> lock_holders(const std::filesystem::path& path);

/// The same for a text of /proc/locks (proc_locks(5)).
std::vector<pid_t> holders_in(std::string_view locks, std::uint64_t device, std::uint64_t inode);

}  // namespace pinhole::leftovers
