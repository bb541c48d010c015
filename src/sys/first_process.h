// SPDX-License-Identifier: Apache-2.0
// What a guest's first process has to do for as long as it lives: reap whoever lost its parent, keep
// one service running, and turn the machine off in order.
#pragma once

#include <functional>

#include "base/error.h"

namespace pinhole::sys {

/// Exists while run_first_process() does; begin_power_off() then knows whom to ask.
inline constexpr const char* kFirstProcessMark = "/run/pinhole/first-process";

/// For process 1 alone: `service` runs in a child, and again whenever that ends, at most once in
/// kServicePause where it does so at once. SIGRTMIN+4 (as systemd(1) has it), SIGTERM and SIGINT
/// (Ctrl-Alt-Del) power the machine off: every process gets SIGTERM and a moment, then SIGKILL; the
/// file systems are synced and the root is left read-only.
[[noreturn]] void run_first_process(const std::function<int()>& service);

/// Says one line on the console and powers off, for a machine that cannot come up.
[[noreturn]] void give_up(const Error& error);

}  // namespace pinhole::sys
