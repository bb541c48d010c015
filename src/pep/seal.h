// SPDX-License-Identifier: Apache-2.0
// What the PEP may ask of the kernel once it serves.
#pragma once

#include <filesystem>

#include "base/error.h"

namespace pinhole::pep {

struct SealOptions {
  /// It listens at a path of its own, and removes that in the end.
  bool unlinks_door = false;
  /// The audit log's folder (audit::Writer::folder()), -1 where the log is not rotated.
  int audit_folder = -1;
};

/// By an allow list of system calls (sys/seccomp.h), for the rest of the process's life: connections over IPv4 and
/// IPv6, reading files that its view holds, and appending to the log that is open. It starts no program, makes no
/// process or thread, opens no file for writing, and connects to no unix socket.
///
/// With `audit_folder` it may go on to a next log file: make files that were not there before, append-only and of mode
/// 0600, and rename files where nothing has the new name, both by way of that one descriptor. A filter cannot look at
/// names, and an absolute one would lead past the descriptor, so this needs confine_writes() before it.
Result<void> seal(SealOptions options);

/// Files are made and renamed in `audit_folder` alone from now on, and removed there and in `door_folder` (Landlock).
/// What is left to whoever takes over the PEP: new log files, and old ones under other names, in a folder that holds
/// nothing but this log (audit/files.h); a head kept elsewhere tells. False: this host has no Landlock; then the log
/// must not be rotated.
Result<bool> confine_writes(const std::filesystem::path& audit_folder,
                            const std::filesystem::path& door_folder);

}  // namespace pinhole::pep
