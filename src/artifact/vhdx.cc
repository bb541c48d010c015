// SPDX-License-Identifier: Apache-2.0
// [MS-VHDX]: integers are little-endian.
#include <algorithm>
#include <optional>

#include "artifact/containers.h"
#include "base/bytes.h"

namespace pinhole::artifact {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::size_t kHeader = 4096;
constexpr std::size_t kRegionTable = 65536;
constexpr std::string_view kTableRegion =
    "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"sv;
constexpr std::string_view kMetadataRegion =
    "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"sv;
constexpr std::string_view kFileParameters =
    "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"sv;
constexpr std::string_view kDiskSize =
    "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"sv;

struct Region {
  std::uint64_t at = 0;
  std::uint64_t size = 0;
};

/// A block with a signature, and a CRC-32C over all of it but itself.
bool holds(const Block& block, std::string_view signature) {
  if (!block.ok() || block.text(0, 4) != signature) return false;
  std::vector<std::uint8_t> copy(block.bytes().begin(), block.bytes().end());
  store_le<std::uint32_t>(copy, 4, 0);
  return crc32c(copy) == block.le32(4);
}

std::optional<Region> find_region(const Block& table, std::string_view id) {
  constexpr std::size_t kFirst = 16, kEntry = 32;
  constexpr std::uint32_t kMostRegions = 2047;
  const std::uint32_t count = std::min(table.le32(8), kMostRegions);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = kFirst + i * kEntry;
    if (at + kEntry > table.size()) break;
    if (table.text(at, 16) == id)
      return Region{.at = table.le64(at + 16), .size = table.le32(at + 24)};
  }
  return std::nullopt;
}

/// The place of an item of the metadata, which has at least `size` bytes.
std::optional<Block> find_item(const Source& source, const Region& metadata, std::string_view id,
                               std::size_t size) {
  constexpr std::size_t kTable = 65536, kFirst = 32, kEntry = 32;
  const Block table(source, metadata.at, kTable);
  if (!table.ok() || table.text(0, 8) != "metadata") return std::nullopt;
  for (std::size_t i = 0; i < table.le16(10); ++i) {
    const std::size_t at = kFirst + i * kEntry;
    if (at + kEntry > table.size()) break;
    if (table.text(at, 16) != id) continue;
    const std::uint64_t offset = table.le32(at + 16);
    if (offset > metadata.size || table.le32(at + 20) < size) return std::nullopt;
    Block item(source, metadata.at + offset, size);
    if (!item.ok()) return std::nullopt;
    return item;
  }
  return std::nullopt;
}

void judge_table(Container& container, const Region& region, std::uint64_t block,
                 std::uint64_t disk) {
  constexpr std::uint64_t kState = 7, kPresent = 6, kPartly = 7;
  const std::uint64_t blocks = (disk + block - 1) / block;
  if (region.size / 8 < blocks) return container.damaged("its table is too short for the disk");
  const Block table(container.source(), region.at,
                    static_cast<std::size_t>(std::min(region.size, kMostTableBytes)));
  for (std::size_t i = 0; i + 8 <= table.size(); i += 8) {
    const std::uint64_t entry = table.le64(i);
    if ((entry & kState) < kPresent) continue;
    if ((entry & kState) == kPartly)
      return container.needs_another_file(
          "it holds only what differs from another image (its parent)");
    const std::uint64_t at = entry >> 20 << 20;
    if (at < kMiB) return container.damaged("its table names data that begin where none can");
    if (!container.reaches("its data", at, block)) return;
  }
}

}  // namespace

void judge_vhdx(Container container) {
  constexpr std::uint64_t kHeaders[] = {64 << 10, 128 << 10};
  constexpr std::uint64_t kTables[] = {192 << 10, 256 << 10};
  constexpr std::size_t kVersion = 66;
  const Source& source = container.source();
  if (!container.reaches("its header", 0, kMiB)) return;
  const Block first(source, kHeaders[0], kHeader), second(source, kHeaders[1], kHeader);
  if (!holds(first, "head") && !holds(second, "head"))
    return container.damaged("neither of its two headers holds its checksum");
  const Block& header = holds(first, "head") ? first : second;
  if (header.le16(kVersion) != 1) return container.unknown_kind("it is of an unknown version");
  const Block table(source, kTables[0], kRegionTable), copy(source, kTables[1], kRegionTable);
  if (!holds(table, "regi") && !holds(copy, "regi"))
    return container.damaged("neither of its two lists of regions holds its checksum");
  const Block& regions = holds(table, "regi") ? table : copy;
  const auto blocks = find_region(regions, kTableRegion);
  const auto metadata = find_region(regions, kMetadataRegion);
  if (!blocks || !metadata) return container.damaged("it has no table, or no metadata");
  if (!container.reaches("its metadata", metadata->at, metadata->size) ||
      !container.reaches("its table", blocks->at, blocks->size))
    return;
  const auto parameters = find_item(source, *metadata, kFileParameters, 8);
  const auto size = find_item(source, *metadata, kDiskSize, 8);
  if (!parameters || !size) return container.damaged("its metadata do not say how large it is");
  container.report().virtual_size = size->le64(0);
  constexpr std::uint32_t kHasParent = 2;
  if ((parameters->le32(4) & kHasParent) != 0)
    return container.needs_another_file(
        "it holds only what differs from another image (its parent)");
  const std::uint64_t block = parameters->le32(0);
  constexpr std::uint64_t kLargestDisk = std::uint64_t{64} << 40, kLargestBlock = 256 * kMiB;
  if (block < kMiB || block > kLargestBlock || size->le64(0) == 0 || size->le64(0) > kLargestDisk)
    return container.damaged("its metadata have no sizes that can be");
  judge_table(container, *blocks, block, size->le64(0));
}

}  // namespace pinhole::artifact
