// SPDX-License-Identifier: Apache-2.0
// VMware, "Virtual Disk Format 5.0", sparse extents in one file: integers are little-endian, places in sectors.
#include <algorithm>

#include "artifact/containers.h"
#include "base/strings.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kHeader = 512;
constexpr std::uint64_t kUnit = 512;
// Right behind the header; QEMU looks nowhere else for a parent (block/vmdk.c: DESC_OFFSET, DESC_SIZE).
constexpr std::uint64_t kDescriptorAt = 1;
constexpr std::size_t kSearchedForParent = 20 * 512;
constexpr std::uint64_t kAtEnd = ~std::uint64_t{0};
constexpr std::uint64_t kMostUnits = std::uint64_t{1} << 50;

struct Extent {
  std::uint64_t capacity = 0;
  std::uint64_t grain = 0;
  std::uint64_t per_table = 0;
  std::uint64_t directory = 0;
};

Extent read_extent(const Block& header) {
  return {.capacity = header.le64(12),
          .grain = header.le64(20),
          .per_table = header.le32(44),
          .directory = header.le64(56)};
}

/// A transfer in text mode changes these, which is what they are for.
bool line_ends_hold(const Block& header) { return header.text(73, 4) == "\n \r\n"; }

/// The text inside that says what kind of disk this is a part of.
bool judge_descriptor(Container& container, const Block& header) {
  constexpr std::uint64_t kMost = 64 << 10;
  const std::uint64_t at = header.le64(28), size = header.le64(36);
  if (at != kDescriptorAt || size > kMost / kUnit) {
    container.damaged("it has no descriptor where its header says");
    return false;
  }
  if (!container.reaches("its descriptor", at * kUnit, size * kUnit)) return false;
  const std::string text =
      container.source().text(at * kUnit, static_cast<std::size_t>(size * kUnit));
  if (!text.contains("# Disk DescriptorFile")) {
    container.damaged("it has no descriptor where its header says");
  } else if (!text.contains("createType=\"monolithicSparse\"") &&
             !text.contains("createType=\"streamOptimized\"")) {
    container.needs_another_file("it is one of several files that a disk consists of");
  } else if (vmdk_parent(container.source())) {
    container.needs_another_file("it holds only what differs from another image (its parent)");
  } else {
    return true;
  }
  return false;
}

bool sizes_can_be(const Extent& extent) {
  const bool grain =
      extent.grain >= 1 && extent.grain <= (1 << 20) && (extent.grain & (extent.grain - 1)) == 0;
  // QEMU opens no other tables than those of 512 entries.
  return grain && extent.capacity != 0 && extent.capacity <= kMostUnits && extent.per_table == 512;
}

void judge_tables(Container& container, const Extent& extent) {
  const std::uint64_t covered = extent.grain * extent.per_table;
  const std::uint64_t tables = (extent.capacity + covered - 1) / covered;
  if (extent.directory == 0 || extent.directory > kMostUnits)
    return container.damaged("its directory is nowhere");
  if (tables > kMostTableBytes / 4) return container.damaged("its directory is too long");
  if (!container.reaches("its directory", extent.directory * kUnit, tables * 4)) return;
  const Block directory(container.source(), extent.directory * kUnit,
                        static_cast<std::size_t>(tables * 4));
  const std::uint64_t size = extent.per_table * 4;
  std::uint64_t followed = 0;
  for (std::size_t i = 0; i + 4 <= directory.size() && followed < kMostTableBytes; i += 4) {
    const std::uint64_t at = directory.le32(i) * kUnit;
    if (at == 0) continue;
    if (!container.reaches("one of its tables", at, size)) return;
    const Block table(container.source(), at, static_cast<std::size_t>(size));
    for (std::size_t entry = 0; entry + 4 <= table.size(); entry += 4) {
      constexpr std::uint32_t kZeros = 1;
      const std::uint32_t grain = table.le32(entry);
      if (grain > kZeros && !container.reaches("its data", grain * kUnit, kUnit)) return;
    }
    followed += size;
  }
}

}  // namespace

std::optional<std::string> vmdk_parent(const Source& source) {
  constexpr std::string_view kHint = "parentfilenamehint", kId = "parentcid=", kNone = "ffffffff";
  const std::string text = source.text(kDescriptorAt * kUnit, kSearchedForParent);
  const std::string lower = to_lower(text);
  if (const std::size_t hint = lower.find(kHint); hint != std::string::npos) {
    const std::string_view rest = std::string_view(text).substr(hint + kHint.size());
    std::string_view name = trim(rest.substr(0, rest.find_first_of(std::string_view("\n\0", 2))));
    while (!name.empty() && std::string_view("= \"").contains(name.front())) name.remove_prefix(1);
    while (!name.empty() && name.back() == '"') name.remove_suffix(1);
    return std::string(name);
  }
  for (std::size_t at = lower.find(kId); at != std::string::npos; at = lower.find(kId, at + 1)) {
    if (lower.compare(at + kId.size(), kNone.size(), kNone) != 0) return std::string();
  }
  return std::nullopt;
}

void judge_vmdk(Container container) {
  const Source& source = container.source();
  const Block header(source, 0, kHeader);
  if (!header.ok()) return container.truncated("its header", kHeader);
  if (header.text(0, 4) != "KDMV")
    return container.needs_another_file(
        "it is a list of files that a disk consists of, or one of an old kind");
  const std::uint32_t version = header.le32(4);
  if (version < 1 || version > 3)
    return container.unknown_kind(fmt::format("it is of version {}", version));
  if (!line_ends_hold(header))
    return container.damaged("its header has lost its line ends: it was transferred as text");
  Extent extent = read_extent(header);
  container.report().virtual_size = extent.capacity <= kMostUnits ? extent.capacity * kUnit : 0;
  if (!sizes_can_be(extent)) return container.damaged("its header has no sizes that can be");
  if (!judge_descriptor(container, header)) return;
  if (extent.directory == kAtEnd) {
    // Written in one go: a copy of the header with the place of the directory stands before the last sector.
    const Block footer(
        source, source.size() < 2 * kUnit ? source.size() : source.size() - 2 * kUnit, kHeader);
    if (!footer.ok() || footer.text(0, 4) != "KDMV")
      return container.truncated("its footer", source.size() + 2 * kUnit);
    if (!line_ends_hold(footer)) return container.damaged("its footer is not whole");
    const Extent at_end = read_extent(footer);
    if (at_end.capacity != extent.capacity || at_end.grain != extent.grain ||
        at_end.per_table != extent.per_table)
      return container.damaged("its header and its footer differ");
    extent = at_end;
  }
  judge_tables(container, extent);
}

}  // namespace pinhole::artifact
