// SPDX-License-Identifier: Apache-2.0
// docs/interop/qcow2.txt of QEMU.
#include <algorithm>

#include "artifact/containers.h"

namespace pinhole::artifact {
namespace {

constexpr std::uint64_t kOffset = 0x00fffffffffffe00;  // of an L1 or L2 entry
constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
constexpr std::uint64_t kExtendedL2 = 16;
constexpr std::size_t kHeader3 = 104;

struct Header {
  std::uint64_t size = 0;
  std::uint32_t cluster_bits = 0;
  std::uint32_t l1_count = 0;
  std::uint64_t l1_at = 0;
  std::uint64_t features = 0;
  [[nodiscard]] std::uint64_t cluster() const { return std::uint64_t{1} << cluster_bits; }
  [[nodiscard]] std::uint64_t entry() const { return (features & kExtendedL2) != 0 ? 16 : 8; }
  /// How much of the disk one L2 table is for.
  [[nodiscard]] std::uint64_t per_table() const { return cluster() / entry() * cluster(); }
};

/// The features of version 3 that a reader must know.
bool judge_features(Container& container, const Block& head, Header& header) {
  constexpr std::uint64_t kCorrupt = 2, kExternalData = 4, kKnown = 0x1f;
  header.features = head.be64(72);
  const std::uint32_t length = head.be32(100);
  if (length < kHeader3 || length > header.cluster()) {
    container.damaged(fmt::format("its header says that it has {} bytes", length));
  } else if ((header.features & kExternalData) != 0) {
    container.needs_another_file("its data are in another file");
  } else if ((header.features & kCorrupt) != 0) {
    container.damaged("it is marked as corrupt by the program that wrote it");
  } else if ((header.features & ~kKnown) != 0) {
    container.unknown_kind(
        fmt::format("it has features that are not known here ({:#x})", header.features));
  } else if (head.be32(96) > 6) {
    container.damaged("its reference counts have no width that can be");
  } else {
    return true;
  }
  return false;
}

bool judge_header(Container& container, Header& header, bool may_be_backed) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 56;
  constexpr std::uint32_t kMostL1 = 4 << 20;  // of the format: 32 MiB
  const Block head(container.source(), 0, kHeader3);
  if (head.size() < kHeader3) {
    container.truncated("its header", kHeader3);
    return false;
  }
  const std::uint32_t version = head.be32(4);
  header = {.size = head.be64(24),
            .cluster_bits = head.be32(20),
            .l1_count = head.be32(36),
            .l1_at = head.be64(40)};
  container.report().virtual_size = header.size;
  if (version != 2 && version != 3) {
    container.unknown_kind(fmt::format("it is of version {}", version));
  } else if (head.be64(8) != 0 && !may_be_backed) {
    container.needs_another_file("it holds only what differs from another image (a backing file)");
  } else if (header.cluster_bits < 9 || header.cluster_bits > 21) {
    container.damaged(fmt::format("its clusters have 2^{} bytes", header.cluster_bits));
  } else if (head.be32(32) != 0) {
    container.unknown_kind("it is encrypted");
  } else if (header.size == 0 || header.size > kLargest || header.l1_count > kMostL1) {
    container.damaged("its header has no sizes that can be");
  } else {
    if (version == 3 && !judge_features(container, head, header)) return false;
    const std::uint64_t counts_at = head.be64(48), counts = head.be32(56);
    if (header.l1_at % header.cluster() != 0 || counts_at % header.cluster() != 0 ||
        header.l1_at == 0 || counts_at == 0 || counts == 0) {
      container.damaged("its tables begin where none can");
    } else if (header.l1_count < (header.size + header.per_table() - 1) / header.per_table()) {
      container.damaged("its first table is too short for the disk");
    } else {
      return container.reaches("its table of reference counts", counts_at,
                               counts << header.cluster_bits) &&
             container.reaches("its first table", header.l1_at, header.l1_count * 8ULL);
    }
  }
  return false;
}

/// Where the data of one table begin at the latest.
bool judge_table(Container& container, const Header& header, std::uint64_t at) {
  const Block table(container.source(), at, static_cast<std::size_t>(header.cluster()));
  if (!table.ok()) return false;
  // Bits of a compressed cluster's address; above them stands how many sectors it has.
  const std::uint32_t compressed_bits = 62 - (header.cluster_bits - 8);
  for (std::size_t i = 0; i + 8 <= table.size(); i += header.entry()) {
    const std::uint64_t entry = table.be64(i);
    const bool compressed = (entry & kCompressed) != 0;
    const std::uint64_t data =
        compressed ? entry & ((std::uint64_t{1} << compressed_bits) - 1) : entry & kOffset;
    if (data == 0) continue;
    if (!compressed && data % header.cluster() != 0) {
      container.damaged("its tables name data that begin where none can");
      return false;
    }
    if (!container.reaches("its data", data, 1)) return false;
  }
  return true;
}

}  // namespace

void judge_qcow2(Container container, bool may_be_backed) {
  Header header;
  if (!judge_header(container, header, may_be_backed)) return;
  const std::uint64_t count = std::min<std::uint64_t>(header.l1_count, kMostTableBytes / 8);
  const Block l1(container.source(), header.l1_at, static_cast<std::size_t>(count * 8));
  std::uint64_t followed = 0;
  for (std::size_t i = 0; i + 8 <= l1.size() && followed < kMostTableBytes; i += 8) {
    const std::uint64_t at = l1.be64(i) & kOffset;
    if (at == 0) continue;
    if (at % header.cluster() != 0)
      return container.damaged("its first table names another where none can be");
    if (!container.reaches("one of its tables", at, header.cluster())) return;
    if (!judge_table(container, header, at)) return;
    followed += header.cluster();
  }
}

}  // namespace pinhole::artifact
