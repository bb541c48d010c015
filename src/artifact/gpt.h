// SPDX-License-Identifier: Apache-2.0
// GUID partition tables (UEFI 2.10, 5.3) of disks with sectors of 512 bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "artifact/disk.h"
#include "artifact/source.h"

namespace pinhole::artifact {

inline constexpr std::uint64_t kSector = 512;

/// One of the two headers with its array of partitions.
struct GptCopy {
  /// Why it does not hold; empty: it does. "its checksum does not hold"
  std::string fault = {};
  std::uint64_t own = 0;        ///< sector
  std::uint64_t other = 0;      ///< sector of the other copy
  std::uint64_t first = 0;      ///< usable sector
  std::uint64_t last = 0;       ///< usable sector
  std::uint32_t array_crc = 0;  ///< of the partitions
  std::string disk_guid = {};   ///< 16 bytes
  std::vector<Partition> partitions = {};
};
/// The header in `sector`.
GptCopy read_gpt(const Source& source, std::uint64_t sector);

/// Whether the first sector names a GPT: an entry of type EE from sector 1 on, and the signature 55 aa.
bool is_protected(const Source& source);
/// The signature 55 aa and at least one partition entry that is no EE.
bool has_mbr_partitions(const Source& source);
/// Those four (UEFI 2.10, 5.2.1: firmware starts from one of type EF), under the GUIDs that a GPT has for their types; other types
/// are two hexadecimal digits. What lies in an extended one is left out, as is what reaches behind the end.
std::vector<Partition> mbr_partitions(const Source& source);

/// Judges both copies and what the partitions say into `report`: partitions, ESP, problems, notes. Whether there is anything that
/// looks like a GPT is the caller's to know.
void judge_gpt(const Source& source, const std::string& name, DiskReport& report);

}  // namespace pinhole::artifact
