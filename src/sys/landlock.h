// SPDX-License-Identifier: Apache-2.0
// Landlock (landlock(7)): a process restricts itself and all it starts, without privileges.
#pragma once

#include <filesystem>
#include <span>

#include "base/error.h"
#include "sys/file_view.h"

namespace pinhole::sys {

/// The host's Landlock ABI, 0 where it has none. 4 and newer restrict TCP, 6 and newer abstract sockets and signals.
int landlock_abi();

struct LandlockRules {
  FileView view = {};  // every other file is out of reach, except through descriptors that are open
  bool connect_tcp = false;    // to anywhere
  bool bind_any_port = false;  // listening on a port that the kernel chooses
};
/// Irrevocable. Does nothing, successfully, where the host has no Landlock; what an older ABI cannot restrict stays
/// unrestricted (host_confinement.h rates that). no_new_privs is set. Returns the step that failed, or nullptr.
const char* enter_landlock(const LandlockRules& rules);

/// From now on, files are made, renamed, removed and opened for writing in `folders` alone; reading
/// stays as it is. Irrevocable; descriptors that are open keep what they can do. Sets no_new_privs.
/// False: this host has no Landlock, and nothing is restricted.
Result<bool> write_only_in(std::span<const std::filesystem::path> folders);

}  // namespace pinhole::sys
