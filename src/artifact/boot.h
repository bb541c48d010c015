// SPDX-License-Identifier: Apache-2.0
// What firmware would start on a disk (UEFI 2.10, 3.5.1.1 and 13.3), and what that would find.
#pragma once

#include <string>

#include "artifact/disk.h"
#include "artifact/source.h"

namespace pinhole::artifact {

/// Of a disk whose partition table holds: looks for the EFI system partition and the boot file on it, and whether the partitions
/// that a system would need were written at all.
void judge_boot(const Source& source, const std::string& name, Machine machine, DiskReport& report);

}  // namespace pinhole::artifact
