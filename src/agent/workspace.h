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

namespace pinhole::agent {

/// Whether `mounts` (/proc/self/mounts) has a virtiofs at `folder`; the error says what is there
/// instead.
Result<void> find_workspace_mount(std::string_view mounts, const std::filesystem::path& folder);

/// Writes `.pinhole-<nonce>`, reads it back, removes it.
Result<void> check_workspace(const std::filesystem::path& folder, std::string_view nonce);

/// `folder/name`, whole or not at all; a link or file of that name is replaced, never followed. It
/// belongs to the folder's owner and is readable by all.
Result<void> place_file(const std::filesystem::path& folder, std::string_view name,
                        std::string_view content);

/// Takes away whatever is mounted at `folder`, without waiting for it, and mounts the workspace's
/// device there. Who still has a file or a working directory of the old one open gets errors.
Result<void> mount_workspace_again(const std::filesystem::path& folder);

/// `workspace-check FOLDER NONCE`, `workspace-mount FOLDER` and `workspace-place FOLDER NAME` (content on stdin): what that
/// second process does. Returns its exit status; the cause goes to stdout.
int run_workspace_helper(const std::vector<std::string>& args);

}  // namespace pinhole::agent
