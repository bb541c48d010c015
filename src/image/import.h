// SPDX-License-Identifier: Apache-2.0
// Imports a disk image that somebody else made (qcow2, VHD, VMDK, raw; also compressed by gzip, xz, zstd or bzip2): judged by its
// content, converted by a confined qemu-img, grown, and prepared for a machine without a network device, as an ordinary user and
// without mounting anything. The agent is put into an ext4 root by debugfs; where the root is on XFS, Btrfs or LVM, it comes on a
// small read-only disk beside it, which cloud-init starts (Manifest::tools).
//
// Everything happens in one folder inside the store, which a rename turns into the image; what an interrupted import leaves, the
// next build or import removes. Errors are those of failures/import.h and failures/artifacts.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/error.h"
#include "image/store.h"

namespace pinhole::image {

/// Part of every imported image's key: raise it when the same file would give another image.
inline constexpr std::string_view kImporterVersion = "1";

/// A smaller disk is grown to this where nobody names a size; it is sparse.
inline constexpr std::uint64_t kUsualDisk = std::uint64_t{10} << 30;

enum class ImportStage {
  cleaning,  ///< what an interrupted one left
  checksum,  ///< of the file as it was given
  decompressing,
  converting,
  checking,  ///< partition table, boot loader, file system
  growing,
  preparing,
  hashing,
};
std::string_view stage_text(ImportStage stage);

struct ImportProgress {
  ImportStage stage = ImportStage::cleaning;
  double fraction = 0;  ///< of the whole import, 0 to 1, never falling
};

struct ImportOptions {
  std::filesystem::path store;  ///< default_store()
  std::filesystem::path file;
  std::string name;                        ///< of the image; must be free
  std::filesystem::path agent;             ///< the static pinhole-agent
  std::optional<std::string> sha256 = {};  ///< of `file`, 64 hexadecimal digits
  std::optional<std::filesystem::path> sums =
      {};  ///< a SHA256SUMS that names `file` (image/import_checksum.h)
  std::optional<std::uint64_t> size = {};  ///< of the disk, in bytes
  std::function<void(const ImportProgress&)> progress = {};
  int cancel_fd = -1;  ///< borrowed; readable means: give up and clean up (code "cancelled")
};

Result<Image> import_image(const ImportOptions& options);

/// A name for the image after its file: "debian-12-genericcloud-amd64.qcow2.xz" gives "debian-12-genericcloud-amd64".
/// Nothing where no good name is in it.
std::optional<std::string> name_after(const std::filesystem::path& file);

}  // namespace pinhole::image
