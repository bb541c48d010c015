// SPDX-License-Identifier: Apache-2.0
#include "artifact/gpt.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "failures/artifacts.h"

namespace pinhole::artifact {
namespace {

// UEFI 2.10, table 5.5: offsets in a header.
constexpr std::size_t kRevisionAt = 8, kSizeAt = 12, kCrcAt = 16, kReservedAt = 20, kOwnAt = 24,
                      kOtherAt = 32, kFirstAt = 40, kLastAt = 48, kDiskGuidAt = 56, kArrayAt = 72,
                      kCountAt = 80, kEntrySizeAt = 84, kArrayCrcAt = 88;
constexpr std::uint32_t kSmallestHeader = 92;
constexpr std::uint32_t kRevision = 0x00010000;
constexpr std::uint32_t kSmallestEntry = 128;
constexpr std::uint32_t kLargestEntry = 4096;
constexpr std::uint64_t kMostArrayBytes = std::uint64_t{1}
                                          << 20;  // 128 entries, which is usual, take 16 KiB
// A disk of 8 EiB; nothing overflows below it.
constexpr std::uint64_t kMostSectors = std::uint64_t{1} << 54;

std::string guid_text(const Block& block, std::size_t at) {
  std::string tail;
  for (std::size_t i = 8; i < 16; ++i)
    tail += fmt::format("{}{:02x}", i == 10 ? "-" : "", block.u8(at + i));
  return fmt::format("{:08x}-{:04x}-{:04x}-{}", block.le32(at), block.le16(at + 4),
                     block.le16(at + 6), tail);
}

std::string partition_name(const Block& block, std::size_t at) {
  constexpr std::size_t kUnits = 36;
  std::string name;
  for (std::size_t i = 0; i < kUnits; ++i) {
    const std::uint16_t unit = block.le16(at + 2 * i);
    if (unit == 0) break;
    name += unit >= 0x20 && unit < 0x7f ? static_cast<char>(unit) : '?';
  }
  return name;
}

/// "partition 2 (root)"
std::string called(const Partition& partition) {
  if (partition.name.empty()) return fmt::format("partition {}", partition.number);
  return fmt::format("partition {} ({})", partition.number, partition.name);
}

std::string header_fault(const Block& header, std::uint64_t sector) {
  if (!header.ok()) return "the file ends before it";
  if (header.text(0, 8) != "EFI PART") return "it is not there";
  const std::uint32_t size = header.le32(kSizeAt);
  if (size < kSmallestHeader || size > kSector) return "its size makes no sense";
  std::array<std::uint8_t, kSector> copy{};
  std::ranges::copy(header.bytes(), copy.begin());
  store_le<std::uint32_t>(copy, kCrcAt, 0);
  if (crc32(std::span(copy).first(size)) != header.le32(kCrcAt))
    return "its checksum does not hold";
  if (header.le32(kRevisionAt) != kRevision) return "it is of an unknown revision";
  if (header.le32(kReservedAt) != 0) return "its reserved bytes are not zeros";
  if (header.le64(kOwnAt) != sector) {
    return fmt::format("it says that it stands in sector {}, and stands in {}", header.le64(kOwnAt),
                       sector);
  }
  return {};
}

/// The array of entries, as the header names it.
std::string read_array(const Source& source, const Block& header, GptCopy& copy) {
  const std::uint64_t at = header.le64(kArrayAt);
  const std::uint32_t count = header.le32(kCountAt), size = header.le32(kEntrySizeAt);
  copy.array_crc = header.le32(kArrayCrcAt);
  const bool size_can_be = size >= kSmallestEntry && size <= kLargestEntry && size % 128 == 0 &&
                           (size & (size - 1)) == 0;
  const std::uint64_t bytes = std::uint64_t{count} * size;
  if (!size_can_be || count == 0 || bytes > kMostArrayBytes || at > kMostSectors)
    return fmt::format("it names {} partitions of {} bytes each", count, size);
  const Block array(source, at * kSector, static_cast<std::size_t>(bytes));
  if (!array.ok()) return "its list of partitions lies behind the end of the file";
  if (crc32(array.bytes()) != copy.array_crc)
    return "the checksum of its list of partitions does not hold";
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = i * size;
    std::string type = guid_text(array, entry);
    if (type == "00000000-0000-0000-0000-000000000000") continue;
    const std::uint64_t first = array.le64(entry + 32), last = array.le64(entry + 40);
    if (first > last || last > kMostSectors)
      return fmt::format("its partition {} ends before it begins", i + 1);
    copy.partitions.push_back({.number = static_cast<unsigned>(i + 1),
                               .type = std::move(type),
                               .name = partition_name(array, entry + 56),
                               .start = first * kSector,
                               .size = (last - first + 1) * kSector});
  }
  return {};
}

/// Judges one disk.
class Judge {
 public:
  Judge(const Source& source, const std::string& name, DiskReport& report)
      : source_(source), name_(name), report_(report) {}

  void judge();

 private:
  void problem(const failures::Failure& failure, std::initializer_list<failures::Named> values) {
    report_.problems.push_back(failures::told(failure, values));
  }
  void one_copy(std::string what) {
    problem(failures::kGptDamaged, {{"file", name_}, {"what", std::move(what)}});
  }
  bool is_truncated(const GptCopy& copy);
  void backup_of(const GptCopy& main);
  void only_backup(const GptCopy& main, const GptCopy& backup);
  void partitions(const GptCopy& copy);

  const Source& source_;
  const std::string& name_;
  DiskReport& report_;
};

/// Whether the disk was larger when the table was written.
bool Judge::is_truncated(const GptCopy& copy) {
  std::uint64_t end = (std::max({copy.last, copy.other, copy.own}) + 1) * kSector;
  std::string part = "its partition table";
  for (const Partition& partition : copy.partitions) {
    if (partition.start + partition.size <= end) continue;
    end = partition.start + partition.size;
    part = called(partition);
  }
  if (end <= source_.size()) return false;
  problem(failures::kDiskTruncated, {{"file", name_},
                                     {"size", std::to_string(source_.size())},
                                     {"part", part},
                                     {"expected", std::to_string(end)}});
  return true;
}

void Judge::backup_of(const GptCopy& main) {
  if (main.other <= main.last)
    return one_copy(
        fmt::format("the partition table says that its backup is in sector {}, which is "
                    "amidst the partitions",
                    main.other));
  const GptCopy backup = read_gpt(source_, main.other);
  if (!backup.fault.empty())
    return one_copy(fmt::format("the backup of its partition table (sector {}) is damaged: {}",
                                main.other, backup.fault));
  if (backup.array_crc != main.array_crc || backup.disk_guid != main.disk_guid ||
      backup.first != main.first || backup.last != main.last || backup.other != main.own)
    return one_copy("its partition table and the backup of it differ");
  if ((main.other + 1) * kSector + kSector <= source_.size())
    report_.notes.push_back(
        failures::told(failures::kGptBackupNotAtEnd, {{"file", name_},
                                                      {"at", std::to_string(main.other * kSector)},
                                                      {"size", std::to_string(source_.size())}}));
}

void Judge::only_backup(const GptCopy& main, const GptCopy& backup) {
  if (backup.fault.empty())
    return one_copy(fmt::format("its partition table (sector 1) is damaged: {}", main.fault));
  problem(failures::kGptLost, {{"file", name_},
                               {"what", fmt::format("of the first {}; of the one at the end {}",
                                                    main.fault, backup.fault)}});
}

void Judge::partitions(const GptCopy& copy) {
  std::vector<Partition> sorted = copy.partitions;
  std::ranges::sort(sorted, {}, &Partition::start);
  const auto broken = [&](std::string what) {
    problem(failures::kPartitionsBroken, {{"file", name_}, {"what", std::move(what)}});
  };
  if (sorted.empty()) return broken("its partition table is empty");
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const Partition& each = sorted[i];
    if (each.start < copy.first * kSector || each.start + each.size > (copy.last + 1) * kSector)
      return broken(
          fmt::format("{} lies outside of what the partition table calls usable", called(each)));
    if (i > 0 && sorted[i - 1].start + sorted[i - 1].size > each.start)
      return broken(fmt::format("{} and {} overlap", called(sorted[i - 1]), called(each)));
  }
}

void Judge::judge() {
  const GptCopy main = read_gpt(source_, 1);
  if (!main.fault.empty()) {
    const std::uint64_t sectors = source_.size() / kSector;
    return only_backup(main, read_gpt(source_, sectors == 0 ? 0 : sectors - 1));
  }
  report_.partitions = main.partitions;
  if (is_truncated(main)) return;
  if (!is_protected(source_)) problem(failures::kGptUnprotected, {{"file", name_}});
  backup_of(main);
  partitions(main);
}

constexpr std::size_t kMbrTable = 446;
constexpr std::size_t kMbrEntry = 16;
constexpr std::size_t kMbrEntries = 4;

bool is_mbr(const Block& sector) { return sector.ok() && sector.le16(510) == 0xaa55; }

}  // namespace

GptCopy read_gpt(const Source& source, std::uint64_t sector) {
  GptCopy copy;
  if (sector > kMostSectors) return {.fault = "it would lie behind the end of the file"};
  const Block header(source, sector * kSector, kSector);
  copy.fault = header_fault(header, sector);
  if (!copy.fault.empty()) return copy;
  copy.own = sector;
  copy.other = header.le64(kOtherAt);
  copy.first = header.le64(kFirstAt);
  copy.last = header.le64(kLastAt);
  copy.disk_guid = std::string(header.text(kDiskGuidAt, 16));
  if (copy.first > copy.last || copy.last > kMostSectors || copy.other > kMostSectors) {
    copy.fault = "what it calls usable makes no sense";
    return copy;
  }
  copy.fault = read_array(source, header, copy);
  if (copy.fault.empty() && sector == 1) {
    const std::uint64_t array = header.le64(kArrayAt);
    if (array < 2 || array >= copy.first) copy.fault = "its list of partitions lies amidst them";
  }
  return copy;
}

bool is_protected(const Source& source) {
  const Block sector(source, 0, kSector);
  if (!is_mbr(sector)) return false;
  for (std::size_t i = 0; i < kMbrEntries; ++i) {
    const std::size_t entry = kMbrTable + i * kMbrEntry;
    if (sector.u8(entry + 4) == 0xee && sector.le32(entry + 8) == 1) return true;
  }
  return false;
}

bool has_mbr_partitions(const Source& source) {
  const Block sector(source, 0, kSector);
  if (!is_mbr(sector)) return false;
  for (std::size_t i = 0; i < kMbrEntries; ++i) {
    const std::size_t entry = kMbrTable + i * kMbrEntry;
    const bool plausible = (sector.u8(entry) & 0x7f) == 0 && sector.le32(entry + 12) != 0;
    if (plausible && sector.u8(entry + 4) != 0 && sector.u8(entry + 4) != 0xee) return true;
  }
  return false;
}

std::vector<Partition> mbr_partitions(const Source& source) {
  constexpr std::uint8_t kEsp = 0xef, kLinux = 0x83, kGpt = 0xee;
  const Block sector(source, 0, kSector);
  std::vector<Partition> found;
  if (!is_mbr(sector)) return found;
  for (std::size_t i = 0; i < kMbrEntries; ++i) {
    const std::size_t entry = kMbrTable + i * kMbrEntry;
    const std::uint8_t type = sector.u8(entry + 4);
    const std::uint64_t start = sector.le32(entry + 8) * kSector,
                        size = sector.le32(entry + 12) * kSector;
    if (type == 0 || type == kGpt || start == 0 || size == 0 || start + size > source.size())
      continue;
    found.push_back({.number = static_cast<unsigned>(i + 1),
                     .type = type == kEsp     ? std::string(kEspType)
                             : type == kLinux ? std::string(kLinuxType)
                                              : fmt::format("{:02x}", type),
                     .start = start,
                     .size = size});
  }
  return found;
}

void judge_gpt(const Source& source, const std::string& name, DiskReport& report) {
  Judge(source, name, report).judge();
}

}  // namespace pinhole::artifact
