// SPDX-License-Identifier: Apache-2.0
// The agent as the guest's service.
#pragma once

#include "agent/settings.h"

namespace pinhole::agent {

/// Sets the loopback up, then serves until SIGTERM. Returns the exit status.
int run_daemon(Settings settings);

}  // namespace pinhole::agent
