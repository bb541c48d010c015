// SPDX-License-Identifier: Apache-2.0
// The agent as the machine's first process: /init of the initramfs that a direct boot gives to the
// kernel. No systemd, no cloud-init: what they would do and a program could miss is done here or,
// for what only the host knows, in machine.h.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::agent {

/// Whether this process is that /init.
bool is_init(std::string_view argv0);

/// Loads the modules of /modules/order, mounts the second partition of the disk with the serial
/// number "pinhole-disk" as the root and goes there, mounts what a system needs, and runs the daemon
/// for ever (sys/first_process.h). What cannot work is said on the console, and the machine powers
/// off.
[[noreturn]] void run_init();

/// The name below /sys/block of the disk with that serial number; nothing while there is none.
std::string find_disk(const std::filesystem::path& sys_block, std::string_view serial);

/// The lines of a list of modules, as the initramfs has it; names of files alone.
Result<std::vector<std::string>> parse_module_order(std::string_view text);

}  // namespace pinhole::agent
