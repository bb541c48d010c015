// SPDX-License-Identifier: Apache-2.0
// Finding UEFI firmware by QEMU's firmware descriptors (docs/interop/firmware.json in QEMU's
// source). What is in its files, artifact/firmware.h judges.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/vm_plan.h"

namespace pinhole::qemu {

/// The descriptor folders of QEMU, most important first: the user's, /etc, /usr/share.
std::vector<std::filesystem::path> descriptor_folders();

/// The first usable x86_64 q35 flash firmware without secure boot or SMM. A descriptor in an
/// earlier folder hides one of the same name in a later folder; inside the result, order is by file
/// name.
Result<config::Firmware> find_firmware(const std::vector<std::filesystem::path>& folders);

/// What one descriptor offers, if it fits; nothing where it does not. A broken file is an error.
Result<std::optional<config::Firmware>> parse_descriptor(std::string_view text);

}  // namespace pinhole::qemu
