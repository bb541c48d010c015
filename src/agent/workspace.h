// SPDX-License-Identifier: Apache-2.0
// The shared folder, as seen from inside: is it mounted, does it keep what is written. A virtiofs
// whose server is gone blocks whoever touches it, for ever; so the daemon lets a second process of
// this program do the touching.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "wire/hello.h"

namespace pinhole::agent {

/// Whether `mounts` (/proc/self/mounts) has a virtiofs at `folder`; the error says what is there
/// instead.
Result<void> find_workspace_mount(std::string_view mounts, const std::filesystem::path& folder);

/// Whether whoever serves the folder answers, and lets it be listed.
Result<void> look_at_share(const std::filesystem::path& folder);

/// Writes `.pinhole-<nonce>`, reads it back, removes it.
Result<void> check_workspace(const std::filesystem::path& folder, std::string_view nonce);

/// `folder/name`, whole or not at all; a link or file of that name is replaced, never followed. It
/// belongs to the folder's owner and is readable by all.
Result<void> place_file(const std::filesystem::path& folder, std::string_view name,
                        std::string_view content);

/// Takes away whatever is mounted at the share's folder, without waiting for it, and mounts its
/// device there. Who still has a file or a working directory of the old one open gets errors.
Result<void> mount_share_again(const wire::Mount& mount);

/// `workspace-check FOLDER NONCE`, `workspace-look FOLDER`, `workspace-mount FOLDER TAG ro|rw` and
/// `workspace-place FOLDER NAME` (content on stdin): what that second process does. Returns its exit
/// status; the cause goes to stdout.
int run_workspace_helper(const std::vector<std::string>& args);

}  // namespace pinhole::agent
