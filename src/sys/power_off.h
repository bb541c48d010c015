// SPDX-License-Identifier: Apache-2.0
// Turning the machine off, from inside the guest.
#pragma once

#include "base/error.h"

namespace pinhole::sys {

/// Asks the first process, systemd or the agent itself, to stop everything in order and power off;
/// without one of those, syncs and powers off at once. Needs root.
Result<void> begin_power_off();

}  // namespace pinhole::sys
