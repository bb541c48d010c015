// SPDX-License-Identifier: Apache-2.0
// What happens between fork and execve. Internal to sys.
#pragma once

#include <sys/types.h>
#include "sys/process.h"

namespace pinhole::sys {

/// Sent through the report pipe when a step fails; the pipe closes by itself when execve succeeds.
struct SetupFailure {
  int error = 0;
  /// A string literal: parent and child are the same program, so the address means the same in
  /// both.
  const char* step = nullptr;
};

struct ChildPipes {
  int report = -1;  // child writes a SetupFailure
  int ready = -1;   // child writes one byte once its user namespace exists
  int go = -1;  // child reads one byte once its id maps are written; hangs up when the parent dies
  int go_writer = -1;  // the parent's end of it, for the child to close
};

/// Of this process and its children.
bool forbid_core_dumps();

/// CLONE_NEW* of what the child does not share, from its first instruction on.
int clone_flags(const Isolation& isolation);

/// The ordered list of steps of a new child; ends in execve or in a report.
/// `uid` and `gid` are the caller's outside.
[[noreturn]] void become_child(const Command& command, const ChildPipes& pipes, uid_t uid,
                               gid_t gid);

}  // namespace pinhole::sys
