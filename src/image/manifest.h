// SPDX-License-Identifier: Apache-2.0
// manifest.yaml: what an image is, written when it is built and believed afterwards. The format of
// a disk is what stands here, never what its bytes say.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

/// 2 added direct.cpio, 3 images that were imported; 1 is still read. An image that was built is written as 2.
inline constexpr std::uint64_t kManifestVersion = 3;
inline constexpr std::uint64_t kMaxManifest = std::uint64_t{1} << 20;

struct FileRecord {
  std::string sha256;
  std::uint64_t size = 0;
  /// Nanoseconds since 1970, as the file system has it: with `size`, what makes a check cheap.
  std::uint64_t mtime_ns = 0;
  bool operator==(const FileRecord&) const = default;
};

/// Where the content came from.
struct Provenance {
  std::string recipe_sha256;  ///< LoadedRecipe::sha256
  std::string agent_sha256;
  std::string suite;
  std::string archive_date;           ///< the newest Date of the archive's Release files, RFC 3339
  std::vector<std::string> packages;  ///< "name=version", sorted
  bool operator==(const Provenance&) const = default;
};

/// Where an imported image came from, and what was done to it (image/import.h).
struct Imported {
  std::string file_name;               ///< of the file that was given, without its folder
  std::string sha256;                  ///< of that file, as it was given
  std::string format;                  ///< "qcow2", "vhd", "vmdk", "raw", with "+xz" and the like
  std::string layout;                  ///< "Debian GNU/Linux 12, systemd"
  std::string boot;                    ///< its EFI boot loader: "shim and GRUB"
  std::string root;                    ///< "ext4", "xfs"
  std::string agent_sha256;            ///< of the agent that was put in
  std::vector<std::string> prepared;   ///< what was done to it, one line each; may be empty
  std::vector<std::string> shortfall;  ///< what could not be done, one line each; may be empty
  /// Whether there is one for sure, or may be one: `layout` names what was found in a root that was looked into.
  [[nodiscard]] bool may_have_cloud_init() const {
    return root != "ext4" || layout.ends_with(", cloud-init");
  }
  bool operator==(const Imported&) const = default;
};

struct Manifest {
  std::string name;
  std::string format;        ///< "raw"
  std::string architecture;  ///< "x86_64"
  std::string built;         ///< RFC 3339
  std::string builder;       ///< kBuilderVersion of the builder
  std::string key;           ///< the cache key (image/build.h)
  std::string
      cmdline;      ///< what kernel and initrd need for a direct boot, with root=; imported: empty
  FileRecord disk;  ///< disk.raw
  FileRecord kernel;                 ///< vmlinuz; of an imported image it may be missing
  FileRecord initrd;                 ///< initrd; imported images have none
  std::optional<FileRecord> direct;  ///< direct.cpio, in images that can boot directly
  std::optional<FileRecord> tools;   ///< tools.iso, in imported images whose root cannot be written
  Provenance provenance;             ///< empty where `imported` is there
  std::optional<Imported> imported;  ///< nothing: built from a recipe
  bool operator==(const Manifest&) const = default;

  /// Names the image's content, for instance_id().
  [[nodiscard]] const std::string& image_hash() const { return disk.sha256; }
  [[nodiscard]] bool has_kernel() const { return !kernel.sha256.empty(); }
  [[nodiscard]] bool has_initrd() const { return !initrd.sha256.empty(); }
};

/// Strict; a newer version is refused by name. `source` is how errors name the file.
Result<Manifest> parse_manifest(std::string_view text, std::string_view source);
std::string print_manifest(const Manifest& manifest);

}  // namespace pinhole::image
