// SPDX-License-Identifier: Apache-2.0
// For a program that is about to read a stranger's file with a large library.
#pragma once

#include "base/error.h"
#include "sys/file_view.h"

namespace pinhole::sys {

/// For the rest of this process's life: no file but those of `view` (Landlock, where the host has it), no new connection to
/// anything and none of the kernel's more dangerous interfaces (seccomp). The standard libraries' data are in reach.
Result<void> confine_self(FileView view);

}  // namespace pinhole::sys
