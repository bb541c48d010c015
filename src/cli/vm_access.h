// SPDX-License-Identifier: Apache-2.0
// What several commands need of a VM: its paths, its supervisor, whether it exists.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "config/paths.h"
#include "supervisor/control.h"

namespace pinhole::cli {

struct Vm {
  std::string name;
  config::VmPaths paths;
};

/// A VM that exists; else an error that names those that do.
Result<Vm> find_vm(const std::string& name);
/// All VMs by name.
Result<std::vector<Vm>> all_vms();
/// The VM's supervisor; an error with a fix when it does not run.
Result<supervisor::ControlClient> connect(const Vm& vm);
/// Where nothing was named: the only VM there is, or an error.
Result<std::string> name_or_only(const std::string& name);

/// Removes a VM that does not run, with its disk and logs. False: it runs.
Result<bool> remove_vm(const Vm& vm);

/// Stops a VM and waits until nothing of it is left. False: it was not running.
Result<bool> stop_vm(const Vm& vm, bool force);

}  // namespace pinhole::cli
