// SPDX-License-Identifier: Apache-2.0
#include "image/layout.h"

#include "base/sha256.h"
#include "base/strings.h"

namespace pinhole::image {
namespace {

constexpr std::uint64_t kMinEsp = std::uint64_t{40} << 20;  // FAT32 needs 65525 clusters
constexpr std::uint64_t kMinRoot = std::uint64_t{256} << 20;

std::uint64_t whole(std::uint64_t bytes) { return bytes / kAlignment * kAlignment; }

/// RFC 9562 version 8 (custom), from a hash.
std::string uuid(std::string_view key, std::string_view use) {
  std::string digits = sha256_hex(fmt::format("{}\n{}", use, key)).substr(0, 32);
  digits[12] = '8';
  digits[16] = 'a';
  return fmt::format("{}-{}-{}-{}-{}", digits.substr(0, 8), digits.substr(8, 4),
                     digits.substr(12, 4), digits.substr(16, 4), digits.substr(20));
}

std::string partition(int number, std::uint64_t offset, std::uint64_t size) {
  return fmt::format("--new={}:{}:{}", number, offset / kDiskSector,
                     (offset + size) / kDiskSector - 1);
}

}  // namespace

Result<Layout> plan_layout(std::uint64_t disk_size, std::uint64_t esp_size) {
  Layout layout{
      .disk_size = whole(disk_size), .esp_offset = kAlignment, .esp_size = whole(esp_size)};
  if (layout.esp_size < kMinEsp) {
    return fail("an ESP of {} is too small; FAT32 starts at {}", format_size(esp_size),
                format_size(kMinEsp));
  }
  layout.root_offset = layout.esp_offset + layout.esp_size;
  // The last MiB holds the second GPT.
  if (layout.disk_size < layout.root_offset + kAlignment + kMinRoot) {
    return fail("a disk of {} is too small for an ESP of {} and a root of {}",
                format_size(disk_size), format_size(esp_size), format_size(kMinRoot));
  }
  layout.root_size = layout.disk_size - kAlignment - layout.root_offset;
  return layout;
}

DiskIds disk_ids(std::string_view key) {
  return {.disk = uuid(key, "disk"),
          .esp = uuid(key, "esp"),
          .root_partition = uuid(key, "root partition"),
          .root_filesystem = uuid(key, "root file system")};
}

std::vector<std::string> sgdisk_args(const Layout& layout, const DiskIds& ids,
                                     const std::string& disk) {
  // ef00: EFI system partition; 8304: root of x86-64 (Discoverable Partitions Specification).
  return {"--clear",
          "--disk-guid=" + ids.disk,
          partition(1, layout.esp_offset, layout.esp_size),
          "--typecode=1:ef00",
          "--change-name=1:esp",
          "--partition-guid=1:" + ids.esp,
          partition(2, layout.root_offset, layout.root_size),
          "--typecode=2:8304",
          "--change-name=2:root",
          "--partition-guid=2:" + ids.root_partition,
          disk};
}

}  // namespace pinhole::image
