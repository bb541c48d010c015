// SPDX-License-Identifier: Apache-2.0
// What the guard of a folder cannot do by itself: a share inside of what the host executes, and what the host executes of
// one share lying in another. Neither starts.
#pragma once

#include <span>
#include <vector>

#include "base/error.h"
#include "config/share.h"
#include "preflight/guard_walk.h"
#include "preflight/host_folders.h"

namespace pinhole::preflight {

/// Looks at names, and whether folders above it are a repository: a share that the guest writes to may not lie at or below
/// a guarded name, `proj/.git/hooks` or `proj/.vscode`.
Result<void> check_not_guarded(const config::Share& share);

struct ScannedShare {
  const config::Share* share = nullptr;
  bool guarded = false;  // the guest writes to it, and the guard is to keep it
  std::vector<GuardLead> leads = {};
  bool more_leads = false;
};
/// No lead of one may go to a guarded other.
Result<void> check_leads(std::span<const ScannedShare> shares, const HostFolders& host);

}  // namespace pinhole::preflight
