// SPDX-License-Identifier: Apache-2.0
// Before a VM is started again.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/paths.h"

namespace pinhole::leftovers {

/// Deals with what an earlier boot of the VM left, and returns what is to be told of it. Processes of ours that outlived it are
/// ended; half-written files and sockets go. Where a VM runs, nothing is done, and nothing said: preparing it again fails.
/// Errors: `being_started`, `vm_lock_held` (by something that we have no record of, which is left alone), `leftover_stays`.
Result<std::vector<std::string>> clear_for_start(const config::Paths& paths, std::string_view name);

}  // namespace pinhole::leftovers
