// SPDX-License-Identifier: Apache-2.0
// Where the partitions of an image lie: an EFI system partition, then the root file system.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

inline constexpr std::uint64_t kDiskSector = 512;
inline constexpr std::uint64_t kAlignment = std::uint64_t{1} << 20;

/// In bytes; all multiples of kAlignment, but that the partition's end makes room for the second
/// GPT (33 sectors, UEFI 2.10, 5.3).
struct Layout {
  std::uint64_t disk_size = 0;
  std::uint64_t esp_offset = 0;
  std::uint64_t esp_size = 0;
  std::uint64_t root_offset = 0;
  std::uint64_t root_size = 0;
};

/// Sizes are rounded down to whole MiB. An error when nothing sensible fits.
Result<Layout> plan_layout(std::uint64_t disk_size, std::uint64_t esp_size);

/// GUIDs of the disk and its partitions, made from a hash so that equal input gives equal disks.
struct DiskIds {
  std::string disk;
  std::string esp;
  std::string root_partition;
  std::string root_filesystem;  ///< what root=UUID= names
};
DiskIds disk_ids(std::string_view key);

/// Arguments of sgdisk that write this layout to `disk`.
std::vector<std::string> sgdisk_args(const Layout& layout, const DiskIds& ids,
                                     const std::string& disk);

}  // namespace pinhole::image
