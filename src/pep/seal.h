// SPDX-License-Identifier: Apache-2.0
// What the PEP may ask of the kernel once it serves.
#pragma once

#include "base/error.h"

namespace pinhole::pep {

/// By an allow list of system calls (sys/seccomp.h), for the rest of the process's life: connections over IPv4 and
/// IPv6, reading files that its view holds, and appending to the log that is open. It starts no program, makes no
/// process or thread, opens no file for writing, and connects to no unix socket. `unlinks_door`: it listens at a path
/// of its own, and removes that in the end.
Result<void> seal(bool unlinks_door);

}  // namespace pinhole::pep
