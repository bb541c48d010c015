// SPDX-License-Identifier: Apache-2.0
// Which process it is: a pid alone says nothing, because pids are used again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// Together they name one process of one boot of the host, as seen from one PID namespace: no pid is used again within a
/// clock tick by the same user.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t started = 0;  // clock ticks since the host's boot (proc(5), stat, field 22)
  std::uint32_t uid = 0;      // real, as this user namespace sees it
  bool operator==(const ProcessIdentity&) const = default;
};

/// What runs under this pid now; an error where nothing does (a zombie counts as nothing).
Result<ProcessIdentity> identity_of(pid_t pid);

/// A pidfd of that very process: opened first and looked at afterwards, so that what is signalled by it is what was looked at.
/// Nothing where it is gone, or its pid is another's now.
std::optional<Fd> open_process(const ProcessIdentity& identity);

/// True once the process that `pidfd` is of has ended.
bool has_ended(int pidfd, int wait_ms);

/// The PID namespace of this process ("pid:[4026531836]"): elsewhere its pids mean nothing.
Result<std::string> pid_namespace();

/// State and start time in the text of a /proc/PID/stat; nothing when that is no such text.
struct ProcessStat {
  char state = '?';
  std::uint64_t started = 0;
};
std::optional<ProcessStat> parse_process_stat(std::string_view text);

}  // namespace pinhole::sys
