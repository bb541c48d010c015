// SPDX-License-Identifier: Apache-2.0
// The pure parts of a disk: its layout, the unified kernel image, the initrd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <span>

#include "base/bytes.h"
#include "image/initrd.h"
#include "image/layout.h"
#include "image/uki.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

TEST(Layout, LeavesRoomForBothTables) {
  const Layout layout = plan_layout(4096 * kMiB, 64 * kMiB).value();
  EXPECT_EQ(layout.esp_offset, 1 * kMiB);
  EXPECT_EQ(layout.root_offset, 65 * kMiB);
  EXPECT_EQ(layout.root_offset + layout.root_size, 4095 * kMiB);
}

TEST(Layout, RoundsDownToWholeMegabytes) {
  const Layout layout = plan_layout(1024 * kMiB + 12345, 64 * kMiB + 1).value();
  EXPECT_EQ(layout.disk_size, 1024 * kMiB);
  EXPECT_EQ(layout.esp_size, 64 * kMiB);
}

TEST(Layout, RefusesWhatDoesNotFit) {
  EXPECT_EQ(plan_layout(4096 * kMiB, 8 * kMiB).error().message,
            "an ESP of 8.0 MiB is too small; FAT32 starts at 40.0 MiB");
  EXPECT_EQ(plan_layout(100 * kMiB, 64 * kMiB).error().message,
            "a disk of 100.0 MiB is too small for an ESP of 64.0 MiB and a root of 256.0 MiB");
}

TEST(Layout, TellsSgdiskInclusiveSectors) {
  const Layout layout = plan_layout(4096 * kMiB, 64 * kMiB).value();
  const auto args = sgdisk_args(layout, disk_ids("key"), "/d");
  EXPECT_THAT(args, Contains("--new=1:2048:133119"));
  EXPECT_THAT(args, Contains("--new=2:133120:8386559"));
  EXPECT_EQ(args.back(), "/d");
}

TEST(DiskIds, FollowTheKeyAndDifferFromEachOther) {
  const DiskIds ids = disk_ids("key");
  EXPECT_EQ(ids.disk, disk_ids("key").disk);
  EXPECT_NE(ids.disk, disk_ids("other").disk);
  EXPECT_NE(ids.root_partition, ids.root_filesystem);
  EXPECT_THAT(ids.disk, ::testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a.*"));
}

/// A PE32+ program with one section at 0x1000, and `headers` bytes of room for headers.
std::string stub(std::uint32_t headers = 0x400) {
  std::vector<std::uint8_t> bytes(headers + 0x200);
  const auto u16 = [&](std::size_t at, std::uint16_t v) { store_le(std::span(bytes), at, v); };
  const auto u32 = [&](std::size_t at, std::uint32_t v) { store_le(std::span(bytes), at, v); };
  bytes[0] = 'M';
  bytes[1] = 'Z';
  u32(0x3c, 0x80);
  u32(0x80, 0x4550);
  u16(0x84 + 2, 1);
  u16(0x84 + 16, 240);
  const std::size_t optional = 0x84 + 20;
  u16(optional, 0x20b);
  u32(optional + 32, 0x1000);
  u32(optional + 36, 0x200);
  u32(optional + 56, 0x2000);
  u32(optional + 60, headers);
  const std::size_t section = optional + 240;
  u32(section + 8, 0x1234);  // in memory larger than on disk
  u32(section + 12, 0x1000);
  u32(section + 16, 0x200);
  u32(section + 20, headers);
  return {bytes.begin(), bytes.end()};
}

struct Section {
  std::string name;
  std::uint32_t address;
  std::string content;
};

std::vector<Section> sections_of(const std::string& image) {
  const std::vector<std::uint8_t> bytes(image.begin(), image.end());
  const std::size_t coff = load_le<std::uint32_t>(bytes, 0x3c) + 4;
  const auto count = load_le<std::uint16_t>(bytes, coff + 2);
  const std::size_t table = coff + 20 + load_le<std::uint16_t>(bytes, coff + 16);
  std::vector<Section> sections;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = table + i * 40;
    const auto size = load_le<std::uint32_t>(bytes, at + 8);
    const auto raw = load_le<std::uint32_t>(bytes, at + 20);
    sections.push_back({.name = image.substr(at, 8).c_str(),
                        .address = load_le<std::uint32_t>(bytes, at + 12),
                        .content = i == 0 ? "" : image.substr(raw, size)});
  }
  return sections;
}

UkiParts parts(std::string_view stub_bytes) {
  static const std::string kernel(9000, 'k');
  static const std::string initrd(5000, 'i');
  return {.stub = stub_bytes,
          .os_release = "ID=debian\n",
          .cmdline = "root=UUID=1",
          .initrd = initrd,
          .kernel = kernel};
}

TEST(Uki, AddsItsSectionsBehindTheStubsWithoutOverlap) {
  const std::string base = stub();
  const std::string image = make_uki(parts(base)).value();
  const auto sections = sections_of(image);
  ASSERT_EQ(sections.size(), 5U);
  EXPECT_EQ(sections[1].name, ".osrel");
  EXPECT_EQ(sections[1].address, 0x3000U);  // behind 0x1000 + 0x1234
  EXPECT_EQ(sections[2].content, "root=UUID=1");
  EXPECT_EQ(sections[3].name, ".initrd");
  EXPECT_EQ(sections[3].content, std::string(5000, 'i'));
  EXPECT_EQ(sections[4].name, ".linux");
  EXPECT_EQ(sections[4].content, std::string(9000, 'k'));
  for (std::size_t i = 2; i < sections.size(); ++i) {
    EXPECT_GE(sections[i].address, sections[i - 1].address + sections[i - 1].content.size());
  }
  // SizeOfImage covers the last one.
  EXPECT_EQ(static_cast<unsigned char>(image[0x84 + 20 + 57]), 0xA0);
}

TEST(Uki, RefusesAStubWithoutRoomForHeaders) {
  EXPECT_EQ(make_uki(parts(stub(0x200))).error().message,
            "the EFI stub has no room for 4 more section headers");
}

TEST(Uki, RefusesWhatIsNoProgram) {
  EXPECT_EQ(make_uki(parts("<html>")).error().message,
            "the EFI stub is no PE32+ program: no MZ header");
  const std::string base = stub();
  for (std::size_t size = 0; size < 0x400; size += 3) {
    EXPECT_FALSE(make_uki(parts(std::string_view(base).substr(0, size))));
  }
}

constexpr std::string_view kModulesDep =
    "kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko "
    "kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/virtio/virtio_ring.ko:\n"
    "kernel/drivers/block/virtio-blk.ko: kernel/drivers/virtio/virtio.ko "
    "kernel/drivers/virtio/virtio_ring.ko\n";

TEST(ModuleOrder, PutsWhatIsNeededFirstAndEachOnce) {
  EXPECT_THAT(
      module_order(kModulesDep, "", {"virtio_pci", "virtio_blk"}).value(),
      ElementsAre("kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko",
                  "kernel/drivers/virtio/virtio_pci_legacy_dev.ko",
                  "kernel/drivers/virtio/virtio_pci.ko", "kernel/drivers/block/virtio-blk.ko"));
}

TEST(ModuleOrder, LeavesOutWhatIsBuiltInAndNamesWhatIsNowhere) {
  EXPECT_THAT(module_order(kModulesDep, "kernel/fs/ext4/ext4.ko\n", {"ext4"}).value(),
              ::testing::IsEmpty());
  EXPECT_EQ(module_order(kModulesDep, "", {"ext4"}).error().message,
            "the image's kernel has no module \"ext4\"");
}

/// An unpacked system with one kernel that has these modules.
struct KernelRoot {
  sys::TempDir dir = sys::TempDir::make().value();
  KernelRoot(std::string_view dep, const std::vector<std::pair<std::string, std::string>>& files) {
    const std::filesystem::path folder = dir.path() / "usr/lib/modules/6.1";
    std::filesystem::create_directories(folder / "kernel");
    EXPECT_TRUE(sys::write_file_atomic(folder / "modules.dep", dep));
    EXPECT_TRUE(sys::write_file_atomic(folder / "modules.builtin", "kernel/fs/ext4/ext4.ko\n"));
    for (const auto& [name, content] : files)
      EXPECT_TRUE(sys::write_file_atomic(folder / "kernel" / name, content));
  }
};

TEST(DirectArchive, HoldsTheModulesAndTheirOrderAlone) {
  const KernelRoot root("kernel/blk.ko: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/other.ko:\n",
                        {{"blk.ko", "the disk"}, {"virtio.ko", "the bus"}, {"other.ko", "no"}});
  EXPECT_EQ(
      make_direct_archive(root.dir.path(), {"ext4", "blk"}).value(),
      write_cpio({{.name = "modules", .mode = 0040755},
                  {.name = "modules/virtio.ko", .mode = 0100644, .content = "the bus"},
                  {.name = "modules/blk.ko", .mode = 0100644, .content = "the disk"},
                  {.name = "modules/order", .mode = 0100644, .content = "virtio.ko\nblk.ko\n"}}));
  EXPECT_EQ(make_direct_archive(root.dir.path(), {"gone"}).error().message,
            "the image's kernel has no module \"gone\"");
}

TEST(DirectArchive, UnpacksWhatTheDistributionCompressed) {
  // printf 'the disk' | gzip -n
  const std::string packed(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x2b\xc9\x48\x55\x48\xc9\x2c\xce\x06\x00\x87\xdb\x04"
      "\x5d\x08\x00\x00\x00",
      28);
  const KernelRoot root("kernel/blk.ko.gz:\nkernel/bad.ko.gz:\n",
                        {{"blk.ko.gz", packed}, {"bad.ko.gz", packed.substr(0, 15)}});
  EXPECT_THAT(make_direct_archive(root.dir.path(), {"blk"}).value(), HasSubstr("the disk"));
  EXPECT_THAT(make_direct_archive(root.dir.path(), {"blk"}).value(), HasSubstr("blk.ko\n"));
  EXPECT_EQ(make_direct_archive(root.dir.path(), {"bad"}).error().message,
            "cannot unpack the kernel's module kernel/bad.ko.gz");
}

TEST(Cpio, WritesTheNewcFormat) {
  const std::string archive = write_cpio({{.name = "a", .mode = 0100644, .content = "xyz"}});
  EXPECT_EQ(archive.substr(0, 14), "07070100000001");
  EXPECT_EQ(archive.substr(14, 8), "000081A4");
  EXPECT_EQ(archive.substr(110, 2), std::string("a\0", 2));
  EXPECT_EQ(archive.substr(112, 3), "xyz");
  EXPECT_THAT(archive, HasSubstr("TRAILER!!!"));
  EXPECT_EQ(archive.size() % 4, 0U);
}

}  // namespace
}  // namespace pinhole::image
