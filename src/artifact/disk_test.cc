// SPDX-License-Identifier: Apache-2.0
// Disks, good ones and their broken twins: what is said of each.
#include "artifact/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "artifact/fat.h"
#include "artifact/test_artifacts.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::artifact {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

DiskReport judge(const std::string& bytes, Machine machine = kOurs) {
  return judge_disk(MemorySource(bytes), "d", machine);
}
/// "code: message" of the first problem; empty: there is none.
std::string said(const DiskReport& report) {
  if (report.problems.empty()) return "";
  return report.problems.front().code + ": " + report.problems.front().message;
}
std::string said(const std::string& bytes) { return said(judge(bytes)); }

std::string changed(std::string bytes, std::size_t at, std::string_view text) {
  test::put(bytes, at, text);
  return bytes;
}

TEST(Gpt, OfAGoodDiskIsReadDownToItsBootFile) {
  const DiskReport report = judge(test::bootable_disk());
  EXPECT_EQ(said(report), "");
  EXPECT_TRUE(report.boots_by_efi());
  EXPECT_THAT(report.notes, IsEmpty());
  ASSERT_EQ(report.partitions.size(), 2U);
  EXPECT_EQ(report.partitions[0].type, kEspType);
  EXPECT_EQ(report.partitions[1].name, "pb");
  EXPECT_TRUE(is_linux(report.partitions[1]));
  EXPECT_EQ(report.esp, 0U);
  EXPECT_EQ(report.boot_file, "\\EFI\\BOOT\\BOOTX64.EFI");
}

TEST(Gpt, EachCopyIsCheckedAndTheOtherOneMendsIt) {
  const std::string good = test::bootable_disk();
  const std::size_t backup = good.size() - 512;
  const auto torn = judge(changed(good, 512 + 40, "x"));
  EXPECT_EQ(said(torn),
            "gpt_damaged: cannot boot the disk d: its partition table (sector 1) is damaged: its "
            "checksum does not hold");
  EXPECT_EQ(torn.problems[0].fix, "sgdisk -e d   (writes both from the one that holds)");
  EXPECT_EQ(said(changed(good, 1024 + 56, "x")),
            "gpt_damaged: cannot boot the disk d: its partition table (sector 1) is damaged: the "
            "checksum of its list of partitions does not hold");
  EXPECT_THAT(said(changed(good, backup + 16, "x")),
              HasSubstr("is damaged: its checksum does not hold"));
  EXPECT_THAT(said(changed(good, backup, "x")), HasSubstr("is damaged: it is not there"));
  EXPECT_THAT(said(changed(changed(good, backup, "x"), 530, "x")), HasSubstr("gpt_lost: "));
}

TEST(Gpt, ATruncatedDiskAndOneThatGrewAreToldApart) {
  const std::string good = test::bootable_disk();
  const std::string half = good.substr(0, good.size() / 2 / 512 * 512);
  EXPECT_EQ(said(half),
            fmt::format("disk_truncated: cannot use the disk d: it is truncated: it has "
                        "{} bytes, and its partition table reaches to {}",
                        half.size(), good.size()));
  EXPECT_THAT(said(good.substr(0, good.size() - 512)), HasSubstr("disk_truncated"));
  EXPECT_THAT(said(good.substr(0, good.size() - 1)), HasSubstr("disk_truncated"));
  const DiskReport grown = judge(good + std::string(4096, '\0'));
  EXPECT_EQ(said(grown), "");
  EXPECT_TRUE(grown.boots_by_efi());
  ASSERT_EQ(grown.notes.size(), 1U);
  EXPECT_EQ(grown.notes[0].message,
            fmt::format("the disk d has grown: its backup partition table stands at {}, not at its "
                        "end {}",
                        good.size() - 512, good.size() + 4096));
  EXPECT_EQ(grown.notes[0].fix, "sgdisk -e d");
}

TEST(Gpt, FirmwareLooksForOneOnlyWhereTheFirstSectorSaysSo) {
  const std::string good = test::bootable_disk();
  EXPECT_THAT(said(changed(good, 446 + 4, "\x83")), HasSubstr("gpt_unprotected: "));
  EXPECT_THAT(said(changed(good, 510, "xx")), HasSubstr("gpt_unprotected: "));
  EXPECT_THAT(said(changed(good, 446 + 8, "\x02")), HasSubstr("gpt_unprotected: "));
}

TEST(Gpt, WhatItSaysMustBePossible) {
  const auto disk = [](auto&& change) {
    std::string bytes = test::bootable_disk();
    change(bytes);
    test::seal_gpt(bytes, bytes.size() / 512 - 1);
    return bytes;
  };
  EXPECT_EQ(said(disk([](std::string&) {})), "");
  EXPECT_THAT(
      said(disk([](std::string& bytes) { test::put<std::uint64_t>(bytes, 1024 + 32, 20); })),
      HasSubstr("partition 1 (pa) lies outside of what the partition table calls usable"));
  EXPECT_EQ(
      said(disk([](std::string& bytes) { test::put<std::uint64_t>(bytes, 1152 + 32, 40); })),
      "partitions_broken: cannot boot the disk d: partition 1 (pa) and partition 2 (pb) overlap");
  EXPECT_THAT(said(disk([](std::string& bytes) { test::put<std::uint64_t>(bytes, 1152 + 40, 5); })),
              HasSubstr("its partition 2 ends before it begins"));
  EXPECT_THAT(
      said(disk([](std::string& bytes) { test::put<std::uint64_t>(bytes, 1152 + 40, 1 << 20); })),
      HasSubstr("and partition 2 (pb) reaches to 536871424"));
  EXPECT_THAT(said(disk([](std::string& bytes) { bytes.replace(1024, 256, 256, '\0'); })),
              HasSubstr("its partition table is empty"));
}

TEST(Gpt, SectorsOf4096BytesAndDisksForABiosAreNamed) {
  std::string large(65536, '\0');
  test::put(large, 4096, "EFI PART");
  EXPECT_THAT(said(large), HasSubstr("gpt_large_sectors: "));
  std::string mbr(65536, 'b');
  mbr.replace(446, 64, 64, '\0');
  mbr[446 + 4] = static_cast<char>(0x83);
  test::put<std::uint32_t>(mbr, 446 + 12, 100);
  test::put<std::uint16_t>(mbr, 510, 0xaa55);
  EXPECT_EQ(
      said(mbr),
      "disk_has_no_gpt: cannot boot the disk d: it is a disk with an MBR, and has no GPT with "
      "an EFI system partition");
  EXPECT_THAT(said(changed(std::string(65536, '\0'), 1080, "\x53\xef")),
              HasSubstr("an ext file system without a partition table"));
}

TEST(Esp, IsLookedForOpenedAndSearched) {
  using test::DiskPart, test::gpt_disk, test::kEspGuid, test::kLinuxGuid;
  const DiskPart root{kLinuxGuid, std::string(4096, 'r')};
  const auto with = [&](const std::string& content) {
    return gpt_disk({{kEspGuid, content}, root});
  };
  const DiskReport none = judge(gpt_disk({root}));
  EXPECT_EQ(said(none), "disk_has_no_esp: cannot boot the disk d: it has no EFI system partition");
  EXPECT_THAT(none.problems[0].details,
              ElementsAre("partition 1 (pa): 4.0 KiB, type 0fc63daf-8483-4772-8e79-3d69d8477de4"));
  EXPECT_THAT(said(with(std::string(65536, 'x'))), HasSubstr("esp_broken: "));
  EXPECT_EQ(said(with(std::string(65536, '\0'))),
            "disk_partly_written: cannot boot the disk d: it was only partly written: partition 1 "
            "(pa), its EFI system partition, holds nothing but zeros");
  const DiskReport other = judge(with(test::fat("GRUBX64 EFI")));
  EXPECT_EQ(said(other),
            "boot_file_missing: cannot boot the disk d: its EFI system partition has no "
            "\\EFI\\BOOT\\BOOTX64.EFI");
  EXPECT_THAT(other.problems[0].details,
              ElementsAre("there is \\EFI\\BOOT", "there is \\EFI\\BOOT\\GRUBX64.EFI"));
  EXPECT_EQ(
      said(with(test::fat("BOOTAA64EFI", test::pe(test::kPeArm)))),
      "boot_file_for_another_machine: cannot boot the disk d: its boot files are for aarch64, "
      "and the machine is x86_64");
  EXPECT_EQ(said(judge(with(test::fat("BOOTAA64EFI", test::pe(test::kPeArm))), Machine::aarch64)),
            "");
  EXPECT_THAT(said(with(test::fat("BOOTX64 EFI", test::pe(test::kPeArm)))),
              HasSubstr("boot_file_for_another_machine"));
  EXPECT_EQ(
      said(with(test::fat("BOOTX64 EFI", "#!/bin/sh"))),
      "boot_file_broken: cannot boot the disk d: its \\EFI\\BOOT\\BOOTX64.EFI is no whole EFI "
      "program: it does not begin with \"MZ\"");
  EXPECT_THAT(said(with(test::fat("BOOTX64 EFI", test::pe().substr(0, 1200)))),
              HasSubstr("it has 1200 bytes, and its section .text reaches to 1536"));
  EXPECT_THAT(said(gpt_disk({{kEspGuid, test::fat()}, {kLinuxGuid, std::string(8192, '\0')}})),
              HasSubstr("only partly written: partition 2 (pb) holds nothing but zeros"));
}

TEST(Esp, EachOfThemIsLookedAt) {
  using test::gpt_disk, test::kEspGuid, test::kLinuxGuid;
  const DiskReport second = judge(gpt_disk({{kEspGuid, test::fat("GRUBX64 EFI")},
                                            {kLinuxGuid, std::string(8192, 'r')},
                                            {kEspGuid, test::fat()}}));
  EXPECT_EQ(said(second), "");
  EXPECT_TRUE(second.boots_by_efi());
  EXPECT_EQ(second.esp, 2U);
  // Of several that will not do, the first one's trouble is told.
  const DiskReport none =
      judge(gpt_disk({{kEspGuid, test::fat("GRUBX64 EFI")}, {kEspGuid, std::string(65536, 'x')}}));
  EXPECT_THAT(said(none), HasSubstr("boot_file_missing: "));
  EXPECT_EQ(none.problems.size(), 1U);
}

TEST(Esp, FirmwareStartsFromOneOfAnMbrToo) {
  const auto disk = [](char type) {
    std::string bytes(64 * 512, '\0');
    bytes += test::fat();
    bytes[446 + 4] = type;
    test::put<std::uint32_t>(bytes, 446 + 8, 64);
    test::put<std::uint32_t>(bytes, 446 + 12, static_cast<std::uint32_t>(test::fat().size() / 512));
    test::put<std::uint16_t>(bytes, 510, 0xaa55);
    return bytes;
  };
  const DiskReport report = judge(disk('\xef'));
  EXPECT_EQ(said(report), "");
  EXPECT_TRUE(report.boots_by_efi());
  EXPECT_FALSE(report.has_gpt);
  EXPECT_TRUE(judge(test::bootable_disk()).has_gpt);
  EXPECT_THAT(said(disk('\x83')), HasSubstr("disk_has_no_gpt: "));
  std::string behind = disk('\xef');
  test::put<std::uint32_t>(behind, 446 + 12, 1 << 20);
  EXPECT_THAT(said(behind), HasSubstr("disk_has_no_gpt: "));
}

TEST(Esp, WhatAUnifiedKernelCarriesIsJudgedToo) {
  const std::string initrd = test::cpio({{"init", "x"}});
  const auto with = [&](const std::string& kernel, const std::string& files) {
    const std::string uki = test::pe(
        test::kPeX86, {{".text", std::string(512, 'c')}, {".linux", kernel}, {".initrd", files}});
    return said(test::gpt_disk({{test::kEspGuid, test::fat("BOOTX64 EFI", uki)}}));
  };
  EXPECT_EQ(with(test::kernel(), initrd), "");
  EXPECT_EQ(
      with("<html>", initrd),
      "kernel_is_no_kernel: cannot boot the kernel d: \\EFI\\BOOT\\BOOTX64.EFI (.linux): it has "
      "6 bytes and is an HTML page, most likely a saved error page, not a Linux kernel");
  EXPECT_THAT(with(test::kernel(), initrd.substr(0, 60)), HasSubstr("initrd_truncated: "));
  EXPECT_THAT(with(std::string(8192, '\0'), initrd), HasSubstr("disk_partly_written: "));
}

TEST(Fat, ThatContradictsItselfIsNoFat) {
  const std::string good = test::fat();
  const auto opened = [](const std::string& bytes) {
    const MemorySource source(bytes);
    const auto fat = Fat::open(source);
    return fat ? fmt::format("FAT{}", fat->bits()) : fat.error();
  };
  EXPECT_EQ(opened(good), "FAT12");
  EXPECT_THAT(opened(good.substr(0, 4096)),
              HasSubstr("it has 524288 bytes, and its partition 4096"));
  EXPECT_THAT(opened(changed(good, 13, "\x03")), HasSubstr("no sizes that can be"));
  EXPECT_THAT(opened(changed(good, 510, "xx")), HasSubstr("does not end in 55 aa"));
  EXPECT_EQ(opened(changed(good, 512, "x")), "its allocation table does not begin as one");
  EXPECT_EQ(opened(changed(good, 22, "\x01")),
            "its allocation table is too short for its clusters");
}

TEST(Fat, ClustersInACircleEnd) {
  std::string bytes = test::fat();
  bytes[512 + 3] = 2;  // cluster 2, \EFI, is followed by itself
  bytes[512 + 4] = static_cast<char>(bytes[512 + 4] & 0xf0);
  const MemorySource source(bytes);
  const auto fat = Fat::open(source);
  ASSERT_TRUE(fat);
  const auto root = fat->root();
  ASSERT_TRUE(root);
  EXPECT_EQ(fat->list(*Fat::find(*root, "efi")).error(), "its clusters do not end");
}

TEST(Containers, WhatNamesAnotherFileIsRefusedWithoutAdviceToConvertIt) {
  const std::string backed = test::with_qcow2_header(test::qcow2(), "/etc/passwd");
  for (const std::string& bytes :
       {backed, changed(test::qcow2(), 79, "\x04"), changed(test::vmdk(), 512 + 50, "1"),
        "# Disk DescriptorFile" + std::string(4075, '\n')}) {
    const DiskReport report = judge_raw_disk(MemorySource(bytes), "d");
    ASSERT_FALSE(report.problems.empty());
    EXPECT_EQ(report.problems.front().code, "disk_needs_another_file") << said(report);
    EXPECT_THAT(report.problems.front().fix, testing::Not(HasSubstr("pinhole image import")));
  }
}

TEST(Containers, AVmdkWhoseDescriptorIsNotWhereQemuReadsItIsRefused) {
  EXPECT_EQ(said(test::vmdk()), "");
  std::string moved = test::vmdk();
  moved += moved.substr(512, 512);
  moved[28] = static_cast<char>(moved.size() / 512 - 1);
  test::put(moved, 512, "parentCID=12345678\nparentFileNameHint=\"/etc/passwd\"\n");
  EXPECT_THAT(said(moved), HasSubstr("it has no descriptor where its header says"));
  // In a comment, and in what the descriptor's own size leaves out.
  EXPECT_THAT(said(changed(test::vmdk(), 512 + 200, "#parentFileNameHint=\"/etc/passwd\"")),
              HasSubstr("disk_needs_another_file: "));
  EXPECT_THAT(said(changed(test::vmdk(), 3 * 512 + 64, "xparentCID=00000001")),
              HasSubstr("disk_needs_another_file: "));
  std::string narrow = test::vmdk();
  narrow[45] = 1;  // 256 entries in a table
  EXPECT_THAT(said(narrow), HasSubstr("its header has no sizes that can be"));
}

TEST(Containers, AreFollowedAsFarAsTheyReach) {
  const auto cut = [](const std::string& bytes) { return bytes.substr(0, bytes.size() - 512); };
  EXPECT_THAT(said(cut(test::qcow2())), HasSubstr("disk_truncated: cannot use the disk d: it is "
                                                  "truncated: it has 2560 bytes, and its data"));
  EXPECT_THAT(said(cut(test::vhd())), HasSubstr("and its footer reaches to"));
  EXPECT_THAT(said(cut(cut(test::vhd()))), HasSubstr("and its data reaches to"));
  EXPECT_THAT(said(test::vmdk().substr(0, 4096)), HasSubstr("and its data reaches to 4608"));
  EXPECT_THAT(said(cut(test::iso())), HasSubstr("and its volume reaches to 40960"));
  EXPECT_THAT(said(changed(test::vmdk(), 74, "\n")), HasSubstr("it was transferred as text"));
  EXPECT_THAT(said(changed(test::vhd(), test::vhd().size() - 400, "x")),
              HasSubstr("the checksum of its footer does not hold"));
  EXPECT_THAT(said(changed(test::qcow2(), 79, "\x02")), HasSubstr("marked as corrupt"));
  EXPECT_THAT(said(changed(test::qcow2(), 35, "\x01")), HasSubstr("disk_of_unknown_kind"));
  EXPECT_EQ(judge(test::iso()).label, "LABEL");
}

class OfQemuImg : public testing::Test {
 protected:
  void SetUp() override {
    if (!sys::find_program("qemu-img")) GTEST_SKIP() << "no qemu-img here";
    std::ofstream(at("raw"), std::ios::binary) << test::bootable_disk();
  }
  fs::path at(std::string_view name) { return folder_.path() / name; }
  std::string convert(const char* format, const std::string& options) {
    std::vector<std::string> args = {"convert", "-f", "raw", "-O", format};
    if (!options.empty()) args.insert(args.end(), {"-o", options});
    args.insert(args.end(), {at("raw").string(), at("out").string()});
    const auto done = sys::run({.program = *sys::find_program("qemu-img"), .args = std::move(args)},
                               {.time = std::chrono::seconds(60)});
    EXPECT_TRUE(done && done->status.ok()) << (done ? done->err : done.error().message);
    return sys::read_file(at("out"), 64 << 20).value_or("");
  }
  sys::TempDir folder_ = sys::TempDir::make().value();
};

TEST_F(OfQemuImg, EveryFormatHoldsAndATruncatedOneDoesNot) {
  struct Case {
    const char* format;
    const char* options;
    DiskFormat expected;
  };
  for (const Case& each :
       {Case{"qcow2", "", DiskFormat::qcow2}, Case{"qcow2", "compat=0.10", DiskFormat::qcow2},
        Case{"qcow2", "extended_l2=on", DiskFormat::qcow2}, Case{"vpc", "", DiskFormat::vhd},
        Case{"vpc", "subformat=fixed", DiskFormat::vhd}, Case{"vhdx", "", DiskFormat::vhdx},
        Case{"vmdk", "", DiskFormat::vmdk},
        Case{"vmdk", "subformat=streamOptimized", DiskFormat::vmdk}}) {
    SCOPED_TRACE(fmt::format("{} {}", each.format, each.options));
    const std::string bytes = convert(each.format, each.options);
    const DiskReport report = judge(bytes);
    EXPECT_EQ(said(report), "");
    EXPECT_EQ(report.format, each.expected);
    EXPECT_GE(report.virtual_size, test::bootable_disk().size());
    EXPECT_FALSE(judge(bytes.substr(0, bytes.size() - 65536)).is_sound());
    const DiskReport as_raw = judge_raw_disk(MemorySource(bytes), "d");
    EXPECT_EQ(as_raw.problems.at(0).code, "disk_is_not_raw");
    EXPECT_THAT(as_raw.problems.at(0).fix, testing::StartsWith("pinhole image import d"));
  }
}

class RawDisk : public testing::Test {
 protected:
  void put(std::string_view name, const std::string& content) {
    std::ofstream(at(name), std::ios::binary) << content;
  }
  fs::path at(std::string_view name) { return fs::canonical(folder_.path()) / name; }
  auto check(std::string_view name) { return check_raw_disk(at(name), DiskAccess::read_write); }
  sys::TempDir folder_ = sys::TempDir::make().value();
};

TEST_F(RawDisk, WhatAGuestWroteOverItsBootCodeDoesNotMakeItAnotherFormat) {
  const std::string good = test::bootable_disk();
  for (const std::string& disk : {good, test::with_qcow2_header(good, "/home/ana/.ssh/id_ed25519"),
                                  test::with_qcow2_header(good, "/home/ana/.ssh/id", 2),
                                  changed(good, 0, "# Disk DescriptorFile")}) {
    put("disk", disk);
    EXPECT_TRUE(check("disk"));
  }
  put("torn", changed(test::with_qcow2_header(good, "/etc/passwd"), 512 + 40, "x"));
  EXPECT_EQ(check("torn").error().code, "gpt_damaged");
}

TEST_F(RawDisk, OfAMachineThatStartedBeforeMayLackTheUsualBootFile) {
  const std::string other = test::gpt_disk({{test::kEspGuid, test::fat("GRUBX64 EFI")}});
  put("disk", other);
  EXPECT_EQ(check("disk").error().code, "boot_file_missing");
  const auto notes = check_raw_disk(at("disk"), DiskAccess::read_write, BootEntries::may_exist);
  ASSERT_TRUE(notes);
  EXPECT_EQ(notes->at(0).code, "boot_file_missing");
  put("disk", other.substr(0, other.size() - 512));
  EXPECT_FALSE(check_raw_disk(at("disk"), DiskAccess::read_write, BootEntries::may_exist));
}

TEST_F(RawDisk, ThatIsOnlyReadMayBeNamedByALink) {
  put("good", test::bootable_disk());
  fs::create_symlink("good", at("link"));
  EXPECT_TRUE(check_raw_disk(at("link"), DiskAccess::read_only));
  EXPECT_FALSE(check_raw_disk(at("link"), DiskAccess::read_write));
}

TEST_F(RawDisk, HolesWhereItsContentShouldBeAreSeen) {
  put("disk", test::bootable_disk());
  const Fd file(::open(at("disk").c_str(), O_RDWR | O_CLOEXEC));
  const std::string good = test::bootable_disk();
  // The root file system: from the end of the first partition on.
  const auto root = static_cast<off_t>((test::kFirstUsable * 512) + test::fat().size());
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, root, 8192), 0);
  EXPECT_THAT(check("disk").error().message, HasSubstr("partition 2 (pb) holds nothing but zeros"));
}

TEST_F(RawDisk, AnOverlayMustBeOneAndWhole) {
  put("overlay", test::with_qcow2_header(test::qcow2(), "base"));
  EXPECT_TRUE(check_overlay(at("overlay"), "do this"));
  put("overlay", test::qcow2().substr(0, 1500));
  const auto cut = check_overlay(at("overlay"), "do this");
  EXPECT_EQ(cut.error().code, "disk_truncated");
  EXPECT_EQ(cut.error().fix, "do this");
  put("overlay", "");
  EXPECT_THAT(check_overlay(at("overlay"), "do this").error().message,
              HasSubstr("it is an empty file, not a qcow2 disk image"));
}

}  // namespace
}  // namespace pinhole::artifact
