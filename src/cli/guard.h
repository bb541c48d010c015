// SPDX-License-Identifier: Apache-2.0
// What the guest left in shared folders that this host would execute: told when a VM has ended (preflight/guard.h).
#pragma once

#include <boost/json.hpp>

#include "cli/vm_access.h"
#include "preflight/guard.h"

namespace pinhole::cli {

/// For a VM that does not run any more (its lock is held, or it has just ended); the second time there is nothing left to
/// tell. Findings are moved away where its level says so. Tells them on stderr, and what went wrong with that too.
std::vector<preflight::GuardOutcome> tell_guard(const Vm& vm);
/// [{"folder", "path", "what": "new" | "changed", "why", "moved_to"?, "not_moved"?}]
boost::json::array guard_json(const std::vector<preflight::GuardOutcome>& outcomes);

}  // namespace pinhole::cli
