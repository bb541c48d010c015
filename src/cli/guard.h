// SPDX-License-Identifier: Apache-2.0
// What the guest left in the workspace that this host would execute: told when a VM has ended (preflight/guard.h).
#pragma once

#include <boost/json.hpp>

#include "base/error.h"
#include "cli/vm_access.h"
#include "preflight/guard.h"

namespace pinhole::cli {

/// For a VM that does not run any more; once. Findings are moved away where its level says so. A VM that was not guarded
/// has none.
Result<preflight::GuardOutcome> close_guard(const Vm& vm);

/// On stderr, like what the door refused.
void print_guard(const preflight::GuardOutcome& outcome);
/// [{"path", "what": "new" | "changed", "why", "moved_to"?, "not_moved"?}]
boost::json::array guard_json(const preflight::GuardOutcome& outcome);

}  // namespace pinhole::cli
