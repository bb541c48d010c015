// SPDX-License-Identifier: Apache-2.0
// The disk of an image that is imported: made raw, grown, and its root file system found. Inner header of import.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "artifact/disk.h"
#include "base/error.h"
#include "image/build_steps.h"
#include "image/import_source.h"
#include "image/step.h"

namespace pinhole::image {

/// qemu-img, told the format, with sight of `from` and of the folder of `to` alone.
Result<void> convert_to_raw(const ImportSource& source, artifact::DiskFormat format,
                            const std::filesystem::path& to, const StepContext& context,
                            const std::function<void(double)>& progress);

enum class RootKind { ext4, xfs, btrfs, lvm, luks, unknown };
std::string_view to_string(RootKind kind);
/// By the first bytes of a partition.
RootKind root_kind(const artifact::Source& partition);

/// A partition and the file system on it.
struct RootPartition {
  artifact::Partition partition;
  RootKind kind = RootKind::unknown;
  bool last = false;  ///< nothing comes behind it on the disk
};
/// The partitions that may hold the root, the likeliest first: those of Linux types and sizes, not the ESP.
std::vector<RootPartition> root_candidates(const artifact::Source& disk,
                                           const artifact::DiskReport& report);

/// Whether there is more room for `root`, the last on its disk, when that has `size` bytes; and whether what it is called survives.
bool can_grow(const artifact::Partition& root, std::uint64_t size);
/// Makes the disk `size` bytes large and moves its second GPT to its end. With `root`, which is the last on it, that partition
/// takes the room, under the number, type and GUID that it has; the ext4 file system on it, mended before, grows with it.
/// Returns where it lies then.
Result<artifact::Partition> grow_root(const Staging& staging, const artifact::Partition& root,
                                      std::uint64_t size, const StepContext& context);
Result<void> grow_disk(const Staging& staging, std::uint64_t size, const StepContext& context);

/// e2fsck: replays the journal and mends what it can without asking; then the file system is clean, or this is an error, with code
/// `import_root_damaged` where its verdict is that.
Result<void> mend_ext4(const std::filesystem::path& file, std::uint64_t offset,
                       const StepContext& context);
/// The same without writing: an error where anything is not as it should be.
Result<void> check_ext4(const std::filesystem::path& file, std::uint64_t offset,
                        const StepContext& context);

}  // namespace pinhole::image
