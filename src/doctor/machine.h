// SPDX-License-Identifier: Apache-2.0
// What the rows about the machine are judged by; inner header of doctor.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "doctor/row.h"

namespace pinhole::doctor {

/// What a VM takes by default (preflight/prepare.cc), with QEMU's own; and the least that any takes.
inline constexpr std::uint64_t kMemoryOfAVm = std::uint64_t{1300} << 20;
inline constexpr std::uint64_t kSmallestMemory = std::uint64_t{400} << 20;
inline constexpr std::uint64_t kOpenFiles =
    4096;  // supervisor/launch.cc gives each process so many

/// MemAvailable of /proc/meminfo, in bytes.
std::optional<std::uint64_t> available_memory(std::string_view meminfo);
/// What memory.max of this process's own control group (v2) and of those above leaves, with what the kernel would give back
/// of its cache of files; nothing where none has a limit.
std::optional<std::uint64_t> cgroup_room(const Facts& facts);
/// A year that cannot be, or a clock that something of ours is ahead of.
std::optional<Diagnosis> clock_problem(std::chrono::system_clock::time_point now,
                                       std::optional<std::chrono::system_clock::time_point> newest);

}  // namespace pinhole::doctor
