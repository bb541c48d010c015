// SPDX-License-Identifier: Apache-2.0
// VMs that `pinhole run` makes for one command: what is left of them, and what is removed.
#pragma once

#include <functional>

#include "base/error.h"
#include "base/fd.h"
#include "cli/vm_access.h"
#include "config/paths.h"

namespace pinhole::cli {

/// Held by the VM's command for as long as it lives, beyond the VM's own lock: it is still looking at
/// what the VM has left.
Result<Fd> own_ephemeral_vm(const Vm& vm);

/// Stops the VM at once and removes it. Its audit log stays, in paths.runs/NAME, with those of the last
/// hundred runs. `tell` is called between the two.
Result<void> end_ephemeral_vm(const config::Paths& paths, const Vm& vm,
                              const std::function<void()>& tell);

/// Removes the VM of a `run` that was killed, as the next `run` would. False: it is none, or its command or itself still runs.
Result<bool> remove_dead_ephemeral_vm(const config::Paths& paths, const std::string& name);

/// Removes ephemeral VMs that nobody runs any more: their command was killed, or the host went down.
/// One that cannot be removed is left for the next time.
void sweep_ephemeral_vms(const config::Paths& paths);

}  // namespace pinhole::cli
