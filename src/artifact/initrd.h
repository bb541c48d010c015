// SPDX-License-Identifier: Apache-2.0
// Initial RAM file systems (Linux, Documentation/driver-api/early-userspace/buffer-format.rst): one or more "newc" cpio archives,
// uncompressed ones first, then at most one that is compressed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "artifact/source.h"
#include "base/error.h"

namespace pinhole::artifact {

/// How far a compressed archive is read: its first bytes (a start cannot wait for more), or all of it, at most kMostUnpacked
/// bytes of what comes out, when it enters.
enum class Depth : std::uint8_t { quick, full };
inline constexpr std::uint64_t kMostUnpacked = std::uint64_t{512} << 20;

struct InitrdReport {
  std::vector<std::string> parts = {};  ///< "cpio", "xz": what stands one after the other
  std::uint64_t entries = 0;            ///< files and folders that were seen
  std::vector<Error> problems = {};
};
/// Total. `name` is how errors call the file.
InitrdReport judge_initrd(const Source& source, const std::string& name, Depth depth);

/// Of a file, which must be a regular one; links on the way are followed.
Result<void> check_initrd(const std::filesystem::path& path, Depth depth);

}  // namespace pinhole::artifact
