// SPDX-License-Identifier: Apache-2.0
// What pinhole-vsockd can still do once it serves a guest.
#pragma once

#include "base/error.h"

namespace pinhole::vhost {

/// For the rest of this process's life: move bytes between descriptors and the guest's memory, map
/// what QEMU passes (never executable), accept, and connect unix sockets. A system call for anything
/// else (a file, another address family, a program, a process, a new listener, even the removal of
/// its own sockets) ends the process. Once everything is set up; the process has one thread.
Result<void> seal();

}  // namespace pinhole::vhost
