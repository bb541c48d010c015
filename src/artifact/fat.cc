// SPDX-License-Identifier: Apache-2.0
#include "artifact/fat.h"

#include <algorithm>
#include <array>
#include <bit>

#include <fmt/format.h>

#include "base/strings.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kEntrySize = 32;
constexpr std::uint64_t kLargestFolder = 65536 * kEntrySize;    // of the format
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 30;  // a boot file; the format has 4 GiB
constexpr std::size_t kMostRuns = 65536;
constexpr std::uint32_t kMostClusters16 = 65524,
                        kMostClusters12 = 4084;  // by which the kinds are told
constexpr std::uint8_t kLongName = 0x0f, kVolumeLabel = 0x08, kFolder = 0x10;

/// Entries of the allocation table, read through a window: chains mostly go on in it.
class Table {
 public:
  Table(const Source& source, std::uint64_t at, unsigned bits)
      : source_(source), at_(at), bits_(bits) {}

  /// What follows `cluster`; nothing where the table cannot be read.
  std::optional<std::uint32_t> next(std::uint32_t cluster) {
    if (bits_ == 12) {
      const auto pair = load(std::uint64_t{cluster} + cluster / 2, 2);
      if (!pair) return std::nullopt;
      return cluster % 2 == 0 ? *pair & 0xfff : *pair >> 4;
    }
    const std::size_t width = bits_ / 8;
    const auto value = load(std::uint64_t{cluster} * width, width);
    if (!value) return std::nullopt;
    return *value & 0x0fffffff;
  }

 private:
  std::optional<std::uint32_t> load(std::uint64_t offset, std::size_t width) {
    if (offset < start_ || offset + width > start_ + size_) {
      start_ = offset;
      size_ = source_.read(at_ + offset, window_);
      if (size_ < width) return std::nullopt;
    }
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < width; ++i)
      value |= std::uint32_t{window_[offset - start_ + i]} << (8 * i);
    return value;
  }

  const Source& source_;
  std::uint64_t at_;
  unsigned bits_;
  std::array<std::uint8_t, 4096> window_ = {};
  std::uint64_t start_ = 0;
  std::size_t size_ = 0;
};

std::string short_name(const Block& block, std::size_t at) {
  const auto part = [&](std::size_t from, std::size_t size) {
    std::string text(block.text(at + from, size));
    while (text.ends_with(' ')) text.pop_back();
    for (char& c : text) c = c >= 0x20 && c < 0x7f ? c : '?';
    return text;
  };
  const std::string extension = part(8, 3);
  return extension.empty() ? part(0, 8) : part(0, 8) + "." + extension;
}

std::uint8_t short_checksum(const Block& block, std::size_t at) {
  std::uint8_t sum = 0;
  for (std::size_t i = 0; i < 11; ++i)
    sum = static_cast<std::uint8_t>(((sum & 1) << 7) + (sum >> 1) + block.u8(at + i));
  return sum;
}

/// A long name comes in pieces, the last one first, before the entry that it is for.
class LongName {
 public:
  void add(const Block& block, std::size_t at) {
    constexpr std::uint8_t kLast = 0x40, kMostPieces = 20;
    const std::uint8_t order = block.u8(at) & 0x3f;
    if ((block.u8(at) & kLast) != 0) {
      name_.clear();
      next_ = order;
      checksum_ = block.u8(at + 13);
    }
    if (order == 0 || order > kMostPieces || order != next_ || checksum_ != block.u8(at + 13))
      return drop();
    static constexpr std::array<std::size_t, 13> kUnits = {1,  3,  5,  7,  9,  14, 16,
                                                           18, 20, 22, 24, 28, 30};
    std::string piece;
    for (const std::size_t unit : kUnits) {
      const std::uint16_t c = block.le16(at + unit);
      if (c == 0 || c == 0xffff) break;
      piece += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '?';
    }
    name_ = piece + name_;
    --next_;
  }
  /// The name, where it is whole and for this entry; there is none afterwards.
  std::string take(const Block& block, std::size_t at) {
    std::string name = next_ == 0 && checksum_ == short_checksum(block, at) ? name_ : "";
    drop();
    return name;
  }
  void drop() {
    name_.clear();
    next_ = 0xff;
  }

 private:
  std::string name_ = {};
  std::uint8_t next_ = 0xff;
  std::uint8_t checksum_ = 0;
};

}  // namespace

/// A file's bytes where its clusters are.
class Fat::Content final : public Source {
 public:
  Content(const Source& source, std::vector<Run> runs, std::uint64_t size)
      : source_(source), runs_(std::move(runs)), size_(size) {}
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  std::size_t read(std::uint64_t at, std::span<std::uint8_t> to) const override {
    std::size_t done = 0;
    while (done < to.size() && at + done < size_) {
      const Run& run = run_of(at + done);
      const std::uint64_t offset = at + done - run.at;
      const std::uint64_t most = std::min(run.size - offset, size_ - at - done);
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(most, to.size() - done));
      const std::size_t n = source_.read(run.from + offset, to.subspan(done, wanted));
      done += n;
      if (n < wanted) break;
    }
    return done;
  }
  [[nodiscard]] std::uint64_t next_data(std::uint64_t at) const override {
    while (at < size_) {
      const Run& run = run_of(at);
      const std::uint64_t from = run.from + (at - run.at), end = run.from + run.size;
      const std::uint64_t data = source_.next_data(from);
      if (data < end) return std::min(size_, at + (data - from));
      at = run.at + run.size;
    }
    return size_;
  }
  [[nodiscard]] std::uint64_t next_hole(std::uint64_t at) const override {
    while (at < size_) {
      const Run& run = run_of(at);
      const std::uint64_t from = run.from + (at - run.at), end = run.from + run.size;
      const std::uint64_t hole = source_.next_hole(from);
      if (hole < end) return std::min(size_, at + (hole - from));
      at = run.at + run.size;
    }
    return size_;
  }

 private:
  /// `at` is below size_, which the runs cover.
  [[nodiscard]] const Run& run_of(std::uint64_t at) const {
    const auto after = std::ranges::upper_bound(runs_, at, {}, &Run::at);
    return *std::prev(after);
  }

  const Source& source_;
  std::vector<Run> runs_;
  std::uint64_t size_;
};

bool Fat::Entry::is_called(std::string_view other) const {
  return to_lower(name) == to_lower(other) || to_lower(short_name) == to_lower(other);
}

std::expected<Fat, std::string> Fat::open(const Source& source) {
  Fat fat(source);
  if (std::string fault = fat.read_geometry(); !fault.empty()) return std::unexpected(fault);
  return fat;
}

std::string Fat::read_geometry() {
  const Block boot(source_, 0, 512);
  if (!boot.ok()) return "it is smaller than a sector";
  if (boot.le16(510) != 0xaa55)
    return "it is no FAT file system (its first sector does not end in 55 aa)";
  sector_ = boot.le16(11);
  const std::uint32_t per_cluster = boot.u8(13), reserved = boot.le16(14), fats = boot.u8(16);
  const std::uint64_t root_entries = boot.le16(17);
  if (sector_ < 512 || sector_ > 4096 || !std::has_single_bit(sector_) ||
      !std::has_single_bit(per_cluster) || reserved == 0 || fats == 0 || fats > 4)
    return "it is no FAT file system (its first sector has no sizes that can be)";
  cluster_ = sector_ * per_cluster;
  const std::uint64_t total = boot.le16(19) != 0 ? boot.le16(19) : boot.le32(32);
  const std::uint64_t fat_sectors = boot.le16(22) != 0 ? boot.le16(22) : boot.le32(36);
  if (fat_sectors == 0) return "its allocation table has no size";
  fat_at_ = std::uint64_t{reserved} * sector_;
  root_at_ = fat_at_ + fats * fat_sectors * sector_;
  root_size_ = root_entries * kEntrySize;
  data_at_ = (root_at_ + root_size_ + sector_ - 1) / sector_ * sector_;
  const std::uint64_t end = total * sector_;
  if (end > source_.size())
    return fmt::format("it has {} bytes, and its partition {}", end, source_.size());
  if (data_at_ >= end) return "it has no room for files";
  const std::uint64_t clusters = (end - data_at_) / cluster_;
  constexpr std::uint64_t kMostClusters = 0x0ffffff5;
  if (clusters == 0 || clusters > kMostClusters) return "it has no clusters";
  clusters_ = static_cast<std::uint32_t>(clusters);
  bits_ = clusters_ <= kMostClusters12 ? 12 : clusters_ <= kMostClusters16 ? 16 : 32;
  // mkfs.fat -F 32 makes small ones too, which firmware tells by this field as Linux does.
  if (boot.le16(22) == 0) bits_ = 32;
  if ((std::uint64_t{clusters_} + 2) * bits_ > fat_sectors * sector_ * 8)
    return "its allocation table is too short for its clusters";
  if (bits_ == 32) root_cluster_ = boot.le32(44);
  if ((bits_ == 32) != (root_entries == 0)) return "it has no place for its root folder";
  Table table(source_, fat_at_, bits_);
  const auto first = table.next(0);
  if (!first || (*first & 0xff) != boot.u8(21)) return "its allocation table does not begin as one";
  return {};
}

std::expected<std::vector<Fat::Run>, std::string> Fat::chain(std::uint32_t cluster,
                                                             std::uint64_t most) const {
  Table table(source_, fat_at_, bits_);
  const std::uint32_t end = bits_ == 12 ? 0xff8 : bits_ == 16 ? 0xfff8 : 0x0ffffff8;
  std::vector<Run> runs;
  std::uint64_t size = 0;
  while (cluster < end) {
    if (cluster < 2 || cluster - 2 >= clusters_)
      return std::unexpected(fmt::format("its clusters lead to {}, which is none", cluster));
    // A circle is longer than whatever was asked for, too.
    if (size >= most) return std::unexpected("its clusters do not end");
    const std::uint64_t from = data_at_ + std::uint64_t{cluster - 2} * cluster_;
    if (!runs.empty() && runs.back().from + runs.back().size == from) {
      runs.back().size += cluster_;
    } else {
      if (runs.size() == kMostRuns) return std::unexpected("it lies in too many pieces");
      runs.push_back({.at = size, .from = from, .size = cluster_});
    }
    size += cluster_;
    const auto next = table.next(cluster);
    if (!next) return std::unexpected("its allocation table ends early");
    cluster = *next;
  }
  return runs;
}

Fat::Listing Fat::root() const {
  if (bits_ != 32) return entries(PartSource(source_, root_at_, root_size_));
  return list({.name = "\\", .is_folder = true, .cluster = root_cluster_});
}

Fat::Listing Fat::list(const Entry& folder) const {
  const auto runs = chain(folder.cluster, kLargestFolder + cluster_);
  if (!runs) return std::unexpected(runs.error());
  const std::uint64_t size = runs->empty() ? 0 : runs->back().at + runs->back().size;
  return entries(Content(source_, *runs, size));
}

Fat::Listing Fat::entries(const Source& folder) const {
  std::vector<Entry> found;
  LongName long_name;
  constexpr std::size_t kStep = 4096;
  for (std::uint64_t at = 0; at < std::min(folder.size(), kLargestFolder); at += kStep) {
    const Block block(folder, at, kStep);
    for (std::size_t entry = 0; entry + kEntrySize <= block.size(); entry += kEntrySize) {
      const std::uint8_t first = block.u8(entry), attributes = block.u8(entry + 11);
      if (first == 0) return found;
      if (first == 0xe5) {
        long_name.drop();
      } else if ((attributes & 0x3f) == kLongName) {
        long_name.add(block, entry);
      } else if ((attributes & kVolumeLabel) != 0) {
        long_name.drop();
      } else {
        Entry made{.name = long_name.take(block, entry),
                   .short_name = short_name(block, entry),
                   .is_folder = (attributes & kFolder) != 0,
                   .cluster = block.le16(entry + 26) |
                              (bits_ == 32 ? std::uint32_t{block.le16(entry + 20)} << 16 : 0),
                   .size = block.le32(entry + 28)};
        if (made.name.empty()) made.name = made.short_name;
        if (made.short_name != "." && made.short_name != "..") found.push_back(std::move(made));
      }
    }
  }
  return found;
}

const Fat::Entry* Fat::find(const std::vector<Entry>& entries, std::string_view name) {
  const auto found =
      std::ranges::find_if(entries, [&](const Entry& entry) { return entry.is_called(name); });
  return found == entries.end() ? nullptr : &*found;
}

std::expected<std::unique_ptr<Source>, std::string> Fat::content(const Entry& file) const {
  if (file.size == 0) return std::make_unique<Content>(source_, std::vector<Run>(), 0);
  if (file.size > kLargestFile)
    return std::unexpected(fmt::format("it says that it has {} bytes", file.size));
  constexpr std::uint64_t kMoreThanItsSize = std::uint64_t{16}
                                             << 20;  // it may have been given more
  auto runs = chain(file.cluster, file.size + kMoreThanItsSize);
  if (!runs) return std::unexpected(runs.error());
  const std::uint64_t there = runs->empty() ? 0 : runs->back().at + runs->back().size;
  if (there < file.size)
    return std::unexpected(
        fmt::format("it says that it has {} bytes, and has {}", file.size, there));
  return std::make_unique<Content>(source_, *std::move(runs), file.size);
}

}  // namespace pinhole::artifact
