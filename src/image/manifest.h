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

/// 2 added direct.cpio; 1 is still read.
inline constexpr std::uint64_t kManifestVersion = 2;
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

struct Manifest {
  std::string name;
  std::string format;                ///< "raw"
  std::string architecture;          ///< "x86_64"
  std::string built;                 ///< RFC 3339
  std::string builder;               ///< kBuilderVersion of the builder
  std::string key;                   ///< the cache key (image/build.h)
  std::string cmdline;               ///< what kernel and initrd need for a direct boot, with root=
  FileRecord disk;                   ///< disk.raw
  FileRecord kernel;                 ///< vmlinuz
  FileRecord initrd;                 ///< initrd
  std::optional<FileRecord> direct;  ///< direct.cpio, in images that can boot directly
  Provenance provenance;
  bool operator==(const Manifest&) const = default;

  /// Names the image's content, for instance_id().
  [[nodiscard]] const std::string& image_hash() const { return disk.sha256; }
};

/// Strict; a newer version is refused by name. `source` is how errors name the file.
Result<Manifest> parse_manifest(std::string_view text, std::string_view source);
std::string print_manifest(const Manifest& manifest);

}  // namespace pinhole::image
