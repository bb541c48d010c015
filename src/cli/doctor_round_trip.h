// SPDX-License-Identifier: Apache-2.0
// doctor's last row: that all of it works together. A throw-away VM, verified and removed; without an image or QEMU, the
// door alone.
#pragma once

#include <string>

#include "config/paths.h"
#include "doctor/diagnosis.h"

namespace pinhole::cli {

/// In a process of its own. `name` is the VM's.
doctor::Diagnosis round_trip(const config::Paths& paths, const std::string& name);

/// Whatever became of it: nothing of the VM stays.
void end_round_trip(const config::Paths& paths, const std::string& name);

}  // namespace pinhole::cli
