// SPDX-License-Identifier: Apache-2.0
// The host's folders, and where they are mounted. What may hang (workspace.h) is left to a helper.
#pragma once

#include <filesystem>
#include <vector>

#include "agent/settings.h"
#include "base/error.h"
#include "wire/hello.h"

namespace pinhole::agent {

/// All that are to be mounted, whoever does it: the image's unit has the workspace of a machine with
/// systemd, of which the welcome says no more than that there is one.
std::vector<wire::Mount> shares_of(const wire::Welcome& welcome, const Settings& settings);

/// Makes the folder with those on the way to it, each with the owner of the one it is in (a home's
/// belong to its user), and mounts the share there where it is not: a new welcome does not mount it
/// twice.
Result<void> mount_share(const wire::Mount& mount);
Result<void> make_folders(const std::filesystem::path& path);

/// Takes the right to write from what is mounted there already.
Result<void> make_read_only(const std::filesystem::path& path);

}  // namespace pinhole::agent
