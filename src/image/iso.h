// SPDX-License-Identifier: Apache-2.0
// ISO 9660 by libarchive, in memory: the writer for our seeds, the reader for anybody's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

struct IsoFile {
  std::string name;
  std::string_view content;
};

/// An image with Rock Ridge and Joliet names and fixed times, so that equal input gives equal
/// bytes. At most `limit` bytes.
Result<std::string> write_iso(std::string_view label, const std::vector<IsoFile>& files,
                              std::size_t limit);

struct IsoEntry {
  std::string name;
  std::uint64_t size = 0;
  std::string content = {};  ///< where it was asked for and is small enough
};

struct IsoContents {
  std::string label;  ///< of the primary volume descriptor (ECMA-119, 8.4.7), without padding
  std::uint64_t size = 0;
  std::vector<IsoEntry> entries = {};  ///< files; folders end in '/'
  bool cut = false;                    ///< there were more entries, or the image is damaged
  std::string damage = {};             ///< what libarchive stumbled over
};

/// Reads at most kMaxIsoEntries entries, and the content of those named in `wanted` up to
/// kMaxIsoContent bytes; where several have that name, of the first one.
inline constexpr std::size_t kMaxIsoEntries = 1000;
inline constexpr std::size_t kMaxIsoContent = std::size_t{512} << 10;
Result<IsoContents> read_iso(const std::filesystem::path& path,
                             const std::vector<std::string_view>& wanted);

}  // namespace pinhole::image
