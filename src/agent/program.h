// SPDX-License-Identifier: Apache-2.0
// A program whose streams are frames: what `exec` and the file operations have in common.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "agent/channel.h"
#include "base/error.h"
#include "sys/cgroup.h"
#include "sys/session_child.h"

namespace pinhole::agent {

struct ProgramOptions {
  /// Where its cgroup is made; without one its process group, and its session, end with the host.
  std::shared_ptr<sys::Cgroups> cgroups = {};
  /// stderr is kept (its first 4 KiB) instead of sent.
  bool collect_errors = false;
  bool takes_input = true;
  /// It takes signal and resize frames.
  bool takes_orders = true;
  /// Without any byte either way for so long it is killed; 0: never.
  std::chrono::milliseconds idle_limit{0};
};

struct ProgramEnd {
  sys::SessionEnd how;
  std::string errors;  // as far as they were collected
};

/// Runs the program and talks to the host meanwhile. Nothing when the host went away or broke the
/// protocol: then all that the program has started is dead (a terminal is hung up first, and its
/// programs get a moment), and there is nobody to tell. After a normal end of the program what it
/// left running in the background lives on, as it does with ssh.
asio::awaitable<std::optional<Result<ProgramEnd>>> run_program(
    std::shared_ptr<Connection> connection, sys::SessionCommand command, ProgramOptions options);

}  // namespace pinhole::agent
