// SPDX-License-Identifier: Apache-2.0
// The system call filter of the file daemon. Internal to sys.
#pragma once

namespace pinhole::sys {

/// Loads a seccomp filter under which no file can be given setuid or setgid bits and no device node
/// made, whatever the guest asks the file daemon for: a chmod 4755 in the guest would otherwise be
/// a real setuid file here (measured). Returns 0 or an errno value.
int refuse_special_files();

}  // namespace pinhole::sys
