// SPDX-License-Identifier: Apache-2.0
// What this host must offer before a VM can start; each missing piece is an error with its package.
#pragma once

#include <filesystem>

#include "base/error.h"

namespace pinhole::preflight {

/// Root is never needed and never made use of: Pinhole refuses to run VMs as root.
Result<void> check_not_root();
Result<std::filesystem::path> find_qemu();
Result<std::filesystem::path> find_qemu_img();
/// virtiofsd lies outside PATH; the C one that QEMU 7 brings is what we know how to run.
Result<std::filesystem::path> find_virtiofsd();

}  // namespace pinhole::preflight
