// SPDX-License-Identifier: Apache-2.0
// Microsoft, "Virtual Hard Disk Image Format Specification" 1.0: integers are big-endian.
#include <algorithm>

#include "artifact/containers.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kFooter = 512;
constexpr std::size_t kDynamicHeader = 1024;
constexpr std::uint32_t kFixed = 2, kDiffering = 4;  // 3: dynamic
constexpr std::uint32_t kUnused = 0xffffffff;

/// The complement of the sum of all bytes but its own.
bool sum_holds(const Block& block, std::size_t sum_at) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (i < sum_at || i >= sum_at + 4) sum += block.u8(i);
  }
  return block.be32(sum_at) == ~sum;
}

bool is_footer(const Block& footer) { return footer.ok() && footer.text(0, 8) == "conectix"; }

/// Empty: it holds.
std::string footer_fault(const Block& footer) {
  constexpr std::size_t kVersion = 12, kSize = 48, kType = 60, kSum = 64;
  if (!sum_holds(footer, kSum)) return "the checksum of its footer does not hold";
  if (footer.be32(kVersion) >> 16 != 1) return "its footer is of an unknown version";
  const std::uint32_t type = footer.be32(kType);
  if (type < kFixed || type > kDiffering) return fmt::format("it is of an unknown type ({})", type);
  if (footer.be64(kSize) == 0) return "it has no size";
  return {};
}

void judge_dynamic(Container& container, const Block& footer) {
  constexpr std::size_t kTableAt = 16, kCount = 28, kBlockSize = 32, kSum = 36;
  constexpr std::uint64_t kSector512 = 512;
  const std::uint64_t at = footer.be64(16);
  if (!container.reaches("its header", at, kDynamicHeader)) return;
  const Block header(container.source(), at, kDynamicHeader);
  if (!header.ok() || header.text(0, 8) != "cxsparse")
    return container.damaged("it has no header where its footer says");
  if (!sum_holds(header, kSum))
    return container.damaged("the checksum of its header does not hold");
  const std::uint64_t table_at = header.be64(kTableAt), count = header.be32(kCount);
  const std::uint64_t block = header.be32(kBlockSize);
  if (block < kSector512 || block % kSector512 != 0 || count == 0)
    return container.damaged("its header has no sizes that can be");
  if (count * block < container.report().virtual_size)
    return container.damaged("its table is too short for the disk");
  if (!container.reaches("its table", table_at, count * 4)) return;
  const std::uint64_t bitmap = (block / kSector512 / 8 + kSector512 - 1) / kSector512 * kSector512;
  const Block table(container.source(), table_at,
                    static_cast<std::size_t>(std::min(count * 4, kMostTableBytes)));
  for (std::size_t i = 0; i + 4 <= table.size(); i += 4) {
    const std::uint32_t sector = table.be32(i);
    if (sector == kUnused) continue;
    if (!container.reaches("its data", sector * kSector512, bitmap + block)) return;
  }
}

}  // namespace

bool is_fixed_vhd(const Source& source) {
  if (source.size() < kFooter) return false;
  const Block footer(source, source.size() - kFooter, kFooter);
  return is_footer(footer) && footer_fault(footer).empty() && footer.be32(60) == kFixed;
}

void judge_vhd(Container container) {
  constexpr std::size_t kSize = 48, kType = 60;
  const Source& source = container.source();
  const Block at_end(source, source.size() < kFooter ? source.size() : source.size() - kFooter,
                     kFooter);
  const Block at_start(source, 0, kFooter);
  const Block& footer = is_footer(at_end) ? at_end : at_start;
  if (!is_footer(footer)) return container.damaged("it has no footer");
  container.report().virtual_size = footer.be64(kSize);
  if (std::string fault = footer_fault(footer); !fault.empty()) return container.damaged(fault);
  if (footer.be32(kType) == kDiffering)
    return container.needs_another_file(
        "it holds only what differs from another image (its parent)");
  if (footer.be32(kType) == kFixed) {
    if (is_footer(at_end)) {
      (void)container.reaches(
          "its disk", 0,
          footer.be64(kSize) + std::min<std::uint64_t>(kFooter, ~footer.be64(kSize)));
      return;
    }
    return container.damaged("it is one of fixed size, and its footer is not at its end");
  }
  judge_dynamic(container, footer);
  if (container.report().problems.empty() && !is_footer(at_end))
    return container.truncated("its footer", source.size() + kFooter);
  if (is_footer(at_start) && !footer_fault(at_start).empty())
    container.damaged(fmt::format("of its first copy: {}", footer_fault(at_start)));
  if (!is_footer(at_start)) container.damaged("the copy of its footer at its beginning is missing");
}

}  // namespace pinhole::artifact
