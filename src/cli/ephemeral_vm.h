// SPDX-License-Identifier: Apache-2.0
// VMs that `pinhole run` makes for one command: what is left of them, and what is removed.
#pragma once

#include "base/error.h"
#include "cli/vm_access.h"
#include "config/paths.h"

namespace pinhole::cli {

/// Stops the VM at once and removes it. Its audit log stays, in paths.runs/NAME, with those of the last
/// hundred runs.
Result<void> end_ephemeral_vm(const config::Paths& paths, const Vm& vm);

/// Removes ephemeral VMs that nobody runs any more: their command was killed, or the host went down.
/// One that cannot be removed is left for the next time.
void sweep_ephemeral_vms(const config::Paths& paths);

}  // namespace pinhole::cli
