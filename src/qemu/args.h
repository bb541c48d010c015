// SPDX-License-Identifier: Apache-2.0
// The machine as QEMU's command line: a pure function of the plan, so that what will run can be
// read, tested against a golden file, and compared with what does run (`pinhole verify`).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/vm_plan.h"

namespace pinhole::qemu {

/// Descriptor numbers that the QEMU process inherits.
inline constexpr int kQmpFd = 3;      // one end of a socket pair
inline constexpr int kConsoleFd = 4;  // write end of the console pipe
inline constexpr int kFirmwareCodeFd = 5;
inline constexpr int kFirmwareVarsFd = 6;
inline constexpr int kDiskFd = 7;
inline constexpr int kSeedFd = 8;
inline constexpr int kVsockFd = 9;     // connected to vsockd
inline constexpr int kBackingFd = 10;  // where the disk is an overlay
/// This one and those behind it: connected to the virtiofsd of each share, in their order.
inline constexpr int kShareFd = 11;
inline constexpr int kToolsFd = kShareFd + static_cast<int>(config::kMostShares);

/// Ids of what is unplugged and plugged again when a back-end restarts.
inline constexpr const char* kVsockId = "vsock0";
std::string share_id(std::string_view tag);    // "fs-workspace"
std::string share_port(std::string_view tag);  // "port-workspace"

/// The arguments after the program's name. There is no network device among them, and no option
/// adds one. All that the machine works on comes as a descriptor. The only paths of the host are
/// kernel and initrd of a direct boot, which QEMU opens by name.
std::vector<std::string> qemu_args(const config::VmPlan& plan);

/// A boot of `kernel` alone, to learn whether an accelerator really runs a guest: without a root
/// file system it panics, `panic=-1` turns that into a reset and -no-reboot into an orderly exit of
/// QEMU with status 0.
std::vector<std::string> probe_args(config::Accelerator accelerator,
                                    const std::filesystem::path& kernel);

}  // namespace pinhole::qemu
