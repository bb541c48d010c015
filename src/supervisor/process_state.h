// SPDX-License-Identifier: Apache-2.0
// Whether a process is stopped, for children that speak no protocol in which they could be asked.
#pragma once

#include <string_view>
#include <vector>

#include <sys/types.h>

namespace pinhole::supervisor {

/// The state letter of /proc/PID/stat's content (proc(5): R, S, D, T, t, Z …); 0 when it is not one.
char state_letter(std::string_view stat);

/// Whether `pid` or a descendant of it is stopped by a signal or a debugger. A process that is gone
/// is not: its pidfd tells of that. The program's name is not taken into account, only what the
/// kernel says.
bool is_stopped(pid_t pid);

/// The stopped one may be no child of ours: a supervisor, seen from the command line.
bool is_stopped_itself(pid_t pid);

}  // namespace pinhole::supervisor
