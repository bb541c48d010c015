// SPDX-License-Identifier: Apache-2.0
// EFI programs are PE files (Microsoft, "PE Format"; UEFI 2.10, 2.1.1): their headers, and whether what these name is there.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "artifact/source.h"

namespace pinhole::artifact {

struct PeSection {
  std::string name;  ///< printable
  std::uint64_t at = 0;
  std::uint64_t size = 0;  ///< of the bytes in the file
};

struct Pe {
  std::uint16_t machine = 0;
  std::uint16_t subsystem = 0;
  std::vector<PeSection> sections = {};
};
inline constexpr std::uint16_t kEfiApplication = 10;

struct PeFault {
  std::string what;  ///< "it has no PE signature"
  std::uint64_t needed =
      0;  ///< not 0: the file is truncated, and should have at least this many bytes
};

/// One whose headers hold, and whose sections and signatures lie in the file.
std::expected<Pe, PeFault> parse_pe(const Source& source);

}  // namespace pinhole::artifact
