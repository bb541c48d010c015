// SPDX-License-Identifier: Apache-2.0
// Which folder may be shared: everything in it is the guest's to read and to change.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/paths.h"
#include "sys/user.h"

namespace pinhole::preflight {

struct Workspace {
  std::filesystem::path path;  // absolute, links resolved
  /// Files that look like credentials, for the user to think about: ".env", "id_ed25519".
  std::vector<std::string> credentials;
};

/// `explicitly`: the user named the folder with a flag; then a home folder is his decision, but "/"
/// never is, nor one with Pinhole's own files in it or around it (other VMs' keys, what is trusted, reviews; a home has
/// them, unless XDG_STATE_HOME and the others lead elsewhere), nor one that virtiofsd's options cannot spell.
/// `what` the folder is to be, for messages.
Result<Workspace> check_workspace(const std::filesystem::path& folder, bool explicitly,
                                  const sys::User& user, const config::Paths& paths,
                                  std::string_view what = "the workspace");

}  // namespace pinhole::preflight
