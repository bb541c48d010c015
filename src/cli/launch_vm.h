// SPDX-License-Identifier: Apache-2.0
// Starting a VM: prepares it, starts its supervisor, shows the stages until it is up.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "cli/vm_access.h"
#include "preflight/prepare.h"

namespace pinhole::cli {

/// Descriptor of the supervisor that holds the VM's lock.
inline constexpr int kLockFd = 4;

struct LaunchWords {
  bool quiet = false;
  bool brief = false;  // progress on a terminal only, and nothing of it stays
  /// The VM ends when this process does, however that happens.
  bool tied = false;
};

/// Returns when the VM is running; an error says which stage failed. A Ctrl-C while it starts ends
/// the VM too.
Result<Vm> launch_vm(const config::Paths& paths, const preflight::PrepareOptions& options,
                     const LaunchWords& words = {});

}  // namespace pinhole::cli
