// SPDX-License-Identifier: Apache-2.0
// The direct way to boot: whether it is taken, with which kernel parameters, and the initramfs that
// QEMU gives to the kernel.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "sys/user.h"

namespace pinhole::preflight {

/// What an image has for it.
struct DirectImage {
  std::filesystem::path kernel;
  std::filesystem::path modules;  // direct.cpio (image/initrd.h, make_direct_archive)
};

/// Whether the machine boots directly. Automatic: where the image can and there is no user-data of
/// the user's own, which needs cloud-init. `image` is nothing with a disk of the user's own.
Result<bool> boots_directly(const config::VmRequest& request, const std::string& image_name,
                            const std::optional<DirectImage>& image);

/// Kernel parameters. Beside what is needed: less to find out on a machine that we know, which under
/// software emulation is a quarter of the kernel's time. Mitigations stay, and so do messages of
/// errors and panics.
std::string direct_cmdline(config::Accelerator accelerator);

/// The user's own name where it is an ordinary one for a guest too, else "user".
std::string guest_user_name(const sys::User& user);

/// The image's modules, and behind them `agent` as /init; replaced as a whole.
Result<void> write_initrd(const std::filesystem::path& modules, const std::filesystem::path& agent,
                          const std::filesystem::path& target);

}  // namespace pinhole::preflight
