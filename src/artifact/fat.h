// SPDX-License-Identifier: Apache-2.0
// FAT12, FAT16 and FAT32 (Microsoft, "FAT: General Overview of On-Disk Format" 1.03), as far as finding a file in a folder takes.
//
// A reader of our own, instead of confined mtools: it looks at a few sectors of what may be hostile, answers in microseconds
// where a confined process takes a start's whole budget, and can say what is wrong, which mtools cannot. It never writes.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "artifact/source.h"

namespace pinhole::artifact {

class Fat {
 public:
  struct Entry {
    std::string name;        ///< the long one where it has one; ASCII, anything else is '?'
    std::string short_name;  ///< "BOOTX64.EFI"
    bool is_folder = false;
    std::uint32_t cluster = 0;  ///< the first; 0: empty
    std::uint32_t size = 0;
    [[nodiscard]] bool is_called(std::string_view other) const;  ///< whatever the case
  };

  /// What is wrong with its boot sector as an error. `source` is the partition, which outlives it.
  static std::expected<Fat, std::string> open(const Source& source);

  [[nodiscard]] unsigned bits() const { return bits_; }  ///< 12, 16, 32

  using Listing = std::expected<std::vector<Entry>, std::string>;
  [[nodiscard]] Listing root() const;
  /// A folder's entries without "." and "..".
  [[nodiscard]] Listing list(const Entry& folder) const;
  static const Entry* find(const std::vector<Entry>& entries, std::string_view name);

  /// A file's content; that its chain of clusters is whole is checked first.
  [[nodiscard]] std::expected<std::unique_ptr<Source>, std::string> content(
      const Entry& file) const;

 private:
  struct Run {
    std::uint64_t at = 0;    // bytes in the file
    std::uint64_t from = 0;  // bytes in the partition
    std::uint64_t size = 0;
  };
  class Content;

  explicit Fat(const Source& source) : source_(source) {}
  std::string read_geometry();
  [[nodiscard]] std::expected<std::vector<Run>, std::string> chain(std::uint32_t cluster,
                                                                   std::uint64_t most) const;
  [[nodiscard]] Listing entries(const Source& folder) const;

  const Source& source_;
  unsigned bits_ = 0;
  std::uint32_t sector_ = 0;   // bytes
  std::uint32_t cluster_ = 0;  // bytes
  std::uint32_t clusters_ = 0;
  std::uint64_t fat_at_ = 0;
  std::uint64_t root_at_ = 0;  // FAT12, FAT16
  std::uint64_t root_size_ = 0;
  std::uint32_t root_cluster_ = 0;  // FAT32
  std::uint64_t data_at_ = 0;
};

}  // namespace pinhole::artifact
