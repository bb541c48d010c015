// SPDX-License-Identifier: Apache-2.0
// A command in a running VM with this process's streams, signals and terminal: what exec, shell and
// run have in common.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace pinhole::cli {

enum class TerminalWish {
  where_there_is_one,  // stdin and stdout both are one
  always,              // an error where they are not
  never,
};

struct GuestCommand {
  std::vector<std::string> argv;
  std::vector<std::string> env = {};  // NAME=value, on top of the guest's own
  std::string cwd = "/";
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  TerminalWish terminal = TerminalWish::where_there_is_one;
};

/// For a process that from now on needs its descriptors alone: what the guest says is read by it, so a
/// guest that broke into it has those, and nothing of the user's.
Result<void> seal_for_guest();

/// Returns the command's exit status, or 128 and the signal that ended it. Errors have the statuses of
/// docker and env: 125 Pinhole failed, 126 the command could not be executed, 127 it was not found.
/// Once the guest can be heard this process has given up all system calls but those on its
/// descriptors: call it last.
Result<int> run_guest_command(const std::string& vm, GuestCommand command);

}  // namespace pinhole::cli
