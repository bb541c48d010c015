// SPDX-License-Identifier: Apache-2.0
#include "image/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "artifact/test_artifacts.h"
#include "failures/import.h"
#include "image/import_checksum.h"
#include "image/import_disk.h"
#include "image/import_guest.h"
#include "image/import_layout.h"
#include "image/import_references.h"
#include "image/import_root.h"
#include "image/import_source.h"
#include "image/test_store.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::image {
namespace {

using artifact::DiskFormat;
using artifact::MemorySource;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Optional;

const std::string kA(64, 'a');
const std::string kB(64, 'b');

TEST(ImportChecksum, ListsOfSha256sumInAllItsModes) {
  EXPECT_THAT(find_sha256(kA + "  disk.raw\n", "disk.raw"), Optional(kA));
  EXPECT_THAT(find_sha256(kA + " *disk.raw\r\n", "disk.raw"), Optional(kA));
  EXPECT_THAT(find_sha256("SHA256 (disk.raw) = " + kA, "disk.raw"), Optional(kA));
  EXPECT_THAT(find_sha256(kB + "  other\n" + kA + "  ./sub/disk.raw\n", "disk.raw"), Optional(kA));
  EXPECT_THAT(find_sha256("\\" + kA + "  a\\nb\\\\c\n", "a\nb\\c"), Optional(kA));
  EXPECT_THAT(find_sha256(std::string(64, 'A') + "  disk.raw", "disk.raw"), Optional(kA));
}

TEST(ImportChecksum, WhatIsNotForTheFileIsNoChecksumOfIt) {
  for (const std::string& sums :
       {std::string(), kA, kA + " disk.raw", kA + "  disk.raw.sig", kA + "  xdisk.raw",
        kA.substr(1) + "  disk.raw", "g" + kA.substr(1) + "  disk.raw", "SHA512 (disk.raw) = " + kA,
        "SHA256 (disk.raw) = " + kA + "0"})
    EXPECT_EQ(find_sha256(sums, "disk.raw"), std::nullopt) << sums;
  EXPECT_EQ(find_sha256(kA + "  disk.raw\n" + kB + "  disk.raw\n", "disk.raw"), std::nullopt);
  EXPECT_THAT(find_sha256(kA + "  disk.raw\n" + kA + " *disk.raw\n", "disk.raw"), Optional(kA));
}

std::string be(std::uint64_t value, std::size_t bytes) {
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i)
    out[bytes - 1 - i] = static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}
std::string le(std::uint64_t value, std::size_t bytes) {
  std::string out = be(value, bytes);
  std::ranges::reverse(out);
  return out;
}

std::string qcow2(std::uint64_t backing_at, std::uint64_t features, std::uint32_t version = 3) {
  return "QFI\xfb" + be(version, 4) + be(backing_at, 8) + be(11, 4) + be(16, 4) +
         be(std::uint64_t{1} << 30, 8) + std::string(40, '\0') + be(features, 8) +
         std::string(24, '\0') + "/etc/passwd";
}

TEST(ImportReferences, Qcow2OverAFileOrWithItsDataElsewhere) {
  EXPECT_THAT(outside_reference(MemorySource(qcow2(104, 0)), DiskFormat::qcow2),
              Optional(std::string("the backing file \"/etc/passwd\"")));
  EXPECT_THAT(outside_reference(MemorySource(qcow2(0, 4)), DiskFormat::qcow2),
              Optional(std::string("an external data file")));
  EXPECT_EQ(outside_reference(MemorySource(qcow2(0, 3)), DiskFormat::qcow2), std::nullopt);
  // Version 2 has no features there.
  EXPECT_EQ(outside_reference(MemorySource(qcow2(0, 4, 2)), DiskFormat::qcow2), std::nullopt);
  EXPECT_EQ(claimed_size(MemorySource(qcow2(0, 0)), DiskFormat::qcow2), std::uint64_t{1} << 30);
  EXPECT_EQ(outside_reference(MemorySource("QFI\xfb"), DiskFormat::qcow2), std::nullopt);
}

TEST(ImportReferences, VhdThatIsADifference) {
  const auto footer = [](std::uint32_t type) {
    return "conectix" + std::string(40, '\0') + be(1 << 30, 8) + be(0, 4) + be(type, 4) +
           std::string(512 - 64, '\0');
  };
  EXPECT_THAT(outside_reference(MemorySource(footer(4)), DiskFormat::vhd),
              Optional(HasSubstr("a parent")));
  EXPECT_EQ(outside_reference(MemorySource(footer(3)), DiskFormat::vhd), std::nullopt);
  EXPECT_EQ(
      outside_reference(MemorySource("data" + std::string(508, 'x') + footer(2)), DiskFormat::vhd),
      std::nullopt);
  EXPECT_EQ(claimed_size(MemorySource(footer(3)), DiskFormat::vhd), 1U << 30);
}

TEST(ImportReferences, VmdkWithExtentsOrAParentElsewhere) {
  const auto sparse = [](const std::string& descriptor) {
    std::string header =
        "KDMV" + le(1, 4) + le(3, 4) + le(1 << 20, 8) + le(128, 8) + le(1, 8) + le(2, 8);
    header.resize(512);
    return header + descriptor + std::string(1024 - descriptor.size(), '\0');
  };
  EXPECT_EQ(outside_reference(
                MemorySource(sparse("CID=1\nparentCID=ffffffff\nRW 1048576 SPARSE \"x.vmdk\"\n")),
                DiskFormat::vmdk),
            std::nullopt);
  EXPECT_THAT(outside_reference(MemorySource(sparse("parentCID=0badcafe\n")), DiskFormat::vmdk),
              Optional(HasSubstr("a parent")));
  // QEMU finds the words anywhere behind the header, not at a line's beginning alone, nor where the header says.
  EXPECT_THAT(outside_reference(MemorySource(sparse("#parentFileNameHint=\"/etc/shadow\"\n")),
                                DiskFormat::vmdk),
              Optional(std::string("the parent \"/etc/shadow\"")));
  std::string elsewhere = sparse("# parentCID=0badcafe\n");
  elsewhere[28] = 40;
  EXPECT_THAT(outside_reference(MemorySource(elsewhere), DiskFormat::vmdk),
              Optional(HasSubstr("a parent")));
  EXPECT_THAT(
      outside_reference(MemorySource(sparse("RW 1 SPARSE \"x\"\nRW 1 FLAT \"/etc/shadow\" 0\n")),
                        DiskFormat::vmdk),
      Optional(std::string("the extent \"/etc/shadow\"")));
  EXPECT_THAT(
      outside_reference(MemorySource("# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n"),
                        DiskFormat::vmdk),
      Optional(std::string("the extent \"/etc/shadow\"")));
}

TEST(ImportGuest, WhatDebugfsSays) {
  const auto found = parse_stats(
      "debugfs: stat /etc/hosts\n"
      "Inode: 77   Type: regular    Mode:  0640   Flags: 0x80000\n"
      "User:     3   Group:     4   Project:     0   Size: 1234\n"
      "debugfs: stat /none\n"
      "debugfs: stat /etc/resolv.conf\n"
      "Inode: 78   Type: symlink    Mode:  0777   Flags: 0x0\n"
      "User:     0   Group:     0   Size: 9\n"
      "Fast link dest: \"../a\"b\"\n");
  EXPECT_EQ(
      found.at("/etc/hosts"),
      (GuestEntry{.type = GuestEntry::Type::file, .mode = 0640, .uid = 3, .gid = 4, .size = 1234}));
  EXPECT_FALSE(found.at("/none").exists());
  EXPECT_EQ(found.at("/etc/resolv.conf").target, "../a\"b");
}

GuestFacts debian() {
  GuestFacts facts;
  const GuestEntry file{.type = GuestEntry::Type::file, .mode = 0644};
  for (const char* path :
       {"/etc/os-release", "/usr/lib/systemd/systemd", "/usr/bin/cloud-init", "/usr/bin/growpart",
        "/lib/systemd/system/systemd-networkd-wait-online.service",
        "/lib/systemd/system/systemd-resolved.service",
        "/etc/systemd/system/systemd-resolved.service"})
    facts.entries[path] = file;
  facts.entries["/sbin/init"] = {.type = GuestEntry::Type::link, .target = "/lib/systemd/systemd"};
  facts.texts["/etc/os-release"] = "NAME=x\nPRETTY_NAME=\"Debian\x1b[1m 12\"\n";
  return facts;
}

const GuestFile* find_file(const Preparation& plan, std::string_view path) {
  const auto found = std::ranges::find(plan.changes.files, path, &GuestFile::path);
  return found == plan.changes.files.end() ? nullptr : &*found;
}
std::vector<std::string> link_paths(const Preparation& plan) {
  std::vector<std::string> paths;
  for (const GuestLink& link : plan.changes.links) paths.push_back(link.path);
  return paths;
}

TEST(ImportLayout, SystemdAndCloudInit) {
  const GuestFacts facts = debian();
  EXPECT_EQ(layout_text(facts), "Debian\\x1b[1m 12, systemd, cloud-init");
  const Preparation plan = prepare_guest(facts, "agent", true);
  EXPECT_EQ(find_file(plan, "/usr/lib/pinhole/pinhole-agent")->content, "agent");
  EXPECT_EQ(find_file(plan, "/usr/lib/pinhole/pinhole-agent")->mode, 0755U);
  const auto links = link_paths(plan);
  EXPECT_THAT(links, Contains("/etc/systemd/system/sysinit.target.wants/pinhole-agent.service"));
  EXPECT_THAT(links, Contains("/etc/systemd/system/systemd-networkd-wait-online.service"));
  // Not what is not there, nor what its maker put there.
  EXPECT_THAT(links, Not(Contains("/etc/systemd/system/NetworkManager-wait-online.service")));
  EXPECT_THAT(links, Not(Contains("/etc/systemd/system/systemd-resolved.service")));
  EXPECT_THAT(find_file(plan, "/etc/cloud/cloud.cfg.d/zz-pinhole.cfg")->content,
              HasSubstr("growpart:\n  mode: off\n"));
  EXPECT_THAT(plan.shortfall, IsEmpty());
  EXPECT_THAT(
      find_file(prepare_guest(facts, "", false), "/etc/cloud/cloud.cfg.d/zz-pinhole.cfg")->content,
      Not(HasSubstr("growpart")));
}

TEST(ImportLayout, InittabOfBusyBoxAndOfSystemV) {
  GuestFacts facts;
  const GuestEntry file{.type = GuestEntry::Type::file, .mode = 0644};
  facts.entries = {{"/etc/inittab", file}, {"/sbin/openrc", file}, {"/sbin/init", file}};
  facts.texts["/etc/inittab"] = "id:2:initdefault:";
  facts.texts["/etc/os-release"] = "PRETTY_NAME='Alpine Linux v3.20'\n";
  EXPECT_EQ(layout_text(facts), "Alpine Linux v3.20, OpenRC with System V init");
  const Preparation plan = prepare_guest(facts, "", true);
  EXPECT_EQ(find_file(plan, "/etc/inittab")->content,
            "id:2:initdefault:\n# pinhole: the machine's one "
            "door\nph:12345:respawn:/usr/lib/pinhole/start\n");
  EXPECT_EQ(find_file(plan, "/usr/lib/pinhole/start")->mode, 0755U);
  EXPECT_THAT(
      plan.shortfall,
      ElementsAre("there is no cloud-init: user-data does nothing, and your user is not made"));
  facts.entries["/sbin/init"] = {.type = GuestEntry::Type::link, .target = "/bin/busybox"};
  EXPECT_EQ(layout_text(facts), "Alpine Linux v3.20, OpenRC with BusyBox");
  EXPECT_THAT(find_file(prepare_guest(facts, "", true), "/etc/inittab")->content,
              HasSubstr("\n::respawn:/usr/lib/pinhole/start\n"));
  facts.entries.erase("/etc/inittab");
  EXPECT_EQ(init_kind(facts), InitKind::none);
}

TEST(ImportLayout, GrubDoesNotWaitAndIsHeard) {
  EXPECT_EQ(quick_grub("if x ; then\n  set timeout=30\nelse\n    set timeout=0\nfi\n"
                       "\tlinux\t/vmlinuz root=UUID=1 ro\n\tinitrd\t/initrd\n"),
            "if x ; then\n  set timeout=0\nelse\n    set timeout=0\nfi\n"
            "\tlinux\t/vmlinuz root=UUID=1 ro console=ttyS0,115200\n\tinitrd\t/initrd\n");
  const std::string_view quiet = "set timeout_style=menu\nlinux /v console=tty0 console=ttyS0,9600";
  EXPECT_EQ(quick_grub(quiet), quiet);
  EXPECT_EQ(quick_grub(""), "");
}

TEST(ImportLayout, ToolsAreWholeScripts) {
  EXPECT_THAT(tools_setup(), HasSubstr("ExecStart=/usr/lib/pinhole/pinhole-agent\n"));
  EXPECT_THAT(tools_setup(), Not(HasSubstr("{unit}")));
  EXPECT_TRUE(tools_boothook().starts_with("#cloud-boothook\n#!/bin/sh\n"));
}

TEST(ImportRoot, BootLoadersByTheirMarks) {
  EXPECT_EQ(boot_loader("MZ .text .osrel .cmdline .linux .initrd"), "a unified kernel image");
  EXPECT_EQ(boot_loader("MZ #### LoaderInfo: systemd-boot 252 ####"), "systemd-boot");
  EXPECT_EQ(boot_loader("MZ sbat,1\nshim,4,UEFI shim,shim,1"), "shim and GRUB");
  EXPECT_EQ(boot_loader("MZ sbat,1\ngrub,4,Free Software Foundation"), "GRUB");
  EXPECT_EQ(boot_loader("MZ"), "another EFI program");
}

TEST(ImportRoot, FileSystemsByTheirFirstBytes) {
  const auto kind = [](std::uint64_t at, std::string_view magic) {
    std::string bytes(128 << 10, '\0');
    bytes.replace(at, magic.size(), magic);
    return root_kind(MemorySource(bytes));
  };
  EXPECT_EQ(kind(1080, "\x53\xef"), RootKind::ext4);
  EXPECT_EQ(kind(0, "XFSB"), RootKind::xfs);
  EXPECT_EQ(kind(65600, "_BHRfS_M"), RootKind::btrfs);
  EXPECT_EQ(kind(512, "LABELONE"), RootKind::lvm);
  EXPECT_EQ(kind(0, "LUKS\xba\xbe"), RootKind::luks);
  EXPECT_EQ(kind(4096, "XFSB"), RootKind::unknown);
  EXPECT_EQ(root_kind(MemorySource("")), RootKind::unknown);
}

class ImportFile : public testing::Test {
 protected:
  void SetUp() override {
    if (!sys::find_program("qemu-img")) GTEST_SKIP() << "no qemu-img here";
  }
  std::filesystem::path put(std::string_view name, const std::string& content) {
    EXPECT_TRUE(sys::write_file_atomic(folder_.path() / name, content));
    return folder_.path() / name;
  }
  std::filesystem::path as_qcow2(const std::filesystem::path& raw) {
    const std::filesystem::path to = raw.string() + ".qcow2";
    const auto done = sys::run({.program = *sys::find_program("qemu-img"),
                                .args = {"convert", "-f", "raw", "-O", "qcow2", raw, to}},
                               {.time = std::chrono::seconds(60)});
    EXPECT_TRUE(done && done->status.ok());
    return to;
  }
  Error refused(ImportOptions options) {
    options.store = store_.path();
    options.name = "x";
    options.progress = [&](const ImportProgress& step) { last_ = step.stage; };
    auto made = import_image(options);
    EXPECT_FALSE(made);
    EXPECT_FALSE(std::filesystem::exists(store_.path() / "x"));
    return made ? Error{} : made.error();
  }
  sys::TempDir folder_ = sys::TempDir::make().value();
  TestStore store_;
  ImportStage last_ = ImportStage::cleaning;
};

TEST_F(ImportFile, AnEmptyChecksumIsNoneAndNotAWishForNone) {
  const auto disk = put("d.raw", artifact::test::bootable_disk());
  const Error hash = refused({.file = disk, .sha256 = ""});
  EXPECT_EQ(hash.message, "--sha256 expects 64 hexadecimal digits");
  EXPECT_EQ(hash.exit_status, 2);
  EXPECT_EQ(refused({.file = disk, .sums = ""}).message, "--sums expects the name of a file");
}

TEST_F(ImportFile, SizesThatCannotBeAreRefusedBeforeTheWork) {
  const auto disk = put("d.raw", artifact::test::bootable_disk());
  EXPECT_EQ(refused({.file = disk, .size = std::uint64_t{3} << 40}).code, "import_too_large");
  EXPECT_EQ(last_, ImportStage::cleaning);
  EXPECT_EQ(refused({.file = disk, .size = 20}).code, "import_size_smaller");
  EXPECT_EQ(last_, ImportStage::checksum);
}

TEST_F(ImportFile, CommandsThatMendADiskAreToldOfRawOnesAlone) {
  std::string torn = artifact::test::bootable_disk();
  torn[torn.size() - 512 + 16] ^= 1;  // the checksum of the second table
  const auto raw = put("d.raw", torn);
  const Error of_raw = refused({.file = raw});
  EXPECT_EQ(of_raw.code, "gpt_damaged");
  EXPECT_THAT(of_raw.fix, HasSubstr("sgdisk -e "));
  const Error of_copy = refused({.file = as_qcow2(raw)});
  EXPECT_EQ(of_copy.code, "gpt_damaged");
  EXPECT_EQ(of_copy.fix, failures::kImportMendElsewhere);
}

TEST_F(ImportFile, ADiskWithAnMbrIsNotGrownAsIfItHadAGpt) {
  using artifact::test::fat, artifact::test::put;
  std::string disk(64 * 512, '\0');
  disk += fat();
  disk[446 + 4] = '\xef';
  put<std::uint32_t>(disk, 446 + 8, 64);
  put<std::uint32_t>(disk, 446 + 12, static_cast<std::uint32_t>(fat().size() / 512));
  put<std::uint16_t>(disk, 510, 0xaa55);
  EXPECT_EQ(refused({.file = this->put("d.raw", disk)}).code, "disk_has_no_gpt");
}

TEST_F(ImportFile, AVhdOfAnyMakerKeepsItsEnd) {
  constexpr std::size_t kSize = 300 * 1024;
  std::string bytes = std::string(kSize, 'd') + artifact::test::vhd_footer(kSize, 2);
  bytes.replace(kSize + 28, 4, "vbox");
  bytes[kSize + 57] = 2;  // 2 cylinders of 4 heads with 17 sectors: 68 KiB
  bytes[kSize + 58] = 4;
  bytes[kSize + 59] = 17;
  artifact::test::seal_vhd(bytes, kSize, 512, 64);
  const auto source = ImportSource::open(put("d,x.vhd", bytes));
  ASSERT_TRUE(source);
  std::filesystem::create_directory(folder_.path() / "out");
  const auto to = folder_.path() / "out/disk.raw";
  const auto done = convert_to_raw(*source, DiskFormat::vhd, to, {}, [](double) {});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(std::filesystem::file_size(to), kSize);
}

TEST_F(ImportFile, WhoeverWritesToItIsSeenWhateverTimeItShows) {
  const auto path = put("d.raw", "first");
  const auto source = ImportSource::open(path);
  ASSERT_TRUE(source);
  EXPECT_TRUE(source->check_unchanged());
  struct stat before{};
  struct stat now{};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  do {  // the clock that files have ticks every few milliseconds
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(file.get(), "other", 5, 0), 5);
    const std::array<timespec, 2> times = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::futimens(file.get(), times.data()), 0);
    ASSERT_EQ(::stat(path.c_str(), &now), 0);
  } while (now.st_ctim.tv_sec == before.st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
  EXPECT_EQ(now.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(source->check_unchanged().error().code, "import_changed");
}

TEST_F(ImportFile, ASparseOneTakesWhatIsInIt) {
  const auto path = put("d.raw", std::string(4096, 'x'));
  std::filesystem::resize_file(path, std::uint64_t{1} << 30);
  const auto source = ImportSource::open(path);
  ASSERT_TRUE(source);
  EXPECT_EQ(source->size(), std::uint64_t{1} << 30);
  EXPECT_LE(source->allocated(), 1U << 20);
  EXPECT_GE(source->allocated(), 4096U);
}

class Ext4 : public testing::Test {
 protected:
  void SetUp() override {
    if (!sys::find_program("mke2fs") || !sys::find_program("debugfs"))
      GTEST_SKIP() << "no e2fsprogs";
    std::filesystem::create_directory(folder_);
    const auto done =
        sys::run({.program = *sys::find_program("mke2fs"),
                  .args = {"-q", "-t", "ext4", "-O", "^metadata_csum", disk_.string(), "8M"}},
                 {.time = std::chrono::seconds(60)});
    ASSERT_TRUE(done && done->status.ok());
  }
  void flip(std::uint64_t at, unsigned char bits) const {
    const Fd file(::open(disk_.c_str(), O_RDWR | O_CLOEXEC));
    unsigned char byte = 0;
    ASSERT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
    byte ^= bits;
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
  }
  sys::TempDir above_ = sys::TempDir::make().value();
  std::filesystem::path folder_ = above_.path() / "it's a folder";
  std::filesystem::path disk_ = folder_ / "disk.raw";
};

TEST_F(Ext4, IsReadAndWrittenInAFolderWithSpaces) {
  const GuestFiles files(disk_, 0, folder_);
  const auto done = files.apply({.files = {{.path = "/etc/x", .content = "hello"}}});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(files.read("/etc/x", 100).value(), "hello");
  const Error asked = GuestFiles(disk_, 0, folder_ / "a?b").look({"/etc"}).error();
  EXPECT_THAT(asked.message, HasSubstr("debugfs cannot be told the name"));
}

TEST_F(Ext4, OfFeaturesThatTheHostDoesNotKnowIsCalledSo) {
  constexpr std::uint64_t kIncompatible = 1024 + 0x60;
  flip(kIncompatible + 3, 0x40);
  const auto found = GuestFiles(disk_, 0, folder_).look({"/etc"});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, "import_root_too_new");
  EXPECT_THAT(found.error().message, HasSubstr("unsupported feature"));
  const auto checked = check_ext4(disk_, 0, {});
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().code, "import_root_damaged");
}

TEST_F(Ext4, DamageIsWhatE2fsckCallsSo) {
  EXPECT_TRUE(check_ext4(disk_, 0, {}));
  constexpr std::uint64_t kBlock = 1024, kDescriptors = 2 * kBlock;
  unsigned char block_bitmap = 0;
  const Fd file(::open(disk_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::pread(file.get(), &block_bitmap, 1, kDescriptors), 1);
  flip(block_bitmap * kBlock, 0xff);  // blocks in use that are called free
  const auto checked = check_ext4(disk_, 0, {});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "import_root_damaged");
  EXPECT_TRUE(mend_ext4(disk_, 0, {}));
  EXPECT_TRUE(check_ext4(disk_, 0, {}));
  const auto missing = check_ext4(folder_ / "missing", 0, {});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().code, "import_root_damaged");
}

TEST_F(ImportFile, AStoreThatDebugfsCannotNameIsRefusedAtOnce) {
  const auto disk = put("d.raw", artifact::test::bootable_disk());
  const auto made =
      import_image({.store = store_.path() / "what?", .file = disk, .name = "x", .agent = disk});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, "import_store_name");
}

TEST(ImportDisk, ARootGrowsWhereThereIsRoomAndItsNameIsKept) {
  constexpr std::uint64_t kMiB = 1 << 20;
  const artifact::Partition root{.number = 1, .name = "root", .start = kMiB, .size = 8 * kMiB};
  EXPECT_TRUE(can_grow(root, 11 * kMiB));
  EXPECT_FALSE(can_grow(root, 10 * kMiB));
  EXPECT_FALSE(can_grow(root, 0));
  artifact::Partition named = root;
  named.name = "a:b";
  EXPECT_FALSE(can_grow(named, 11 * kMiB));
}

TEST(ImportName, AfterTheFile) {
  EXPECT_THAT(name_after("/x/Debian-12-GenericCloud.qcow2.xz"),
              Optional(std::string("debian-12-genericcloud")));
  EXPECT_THAT(name_after("noble server.img"), Optional(std::string("noble-server")));
  EXPECT_EQ(name_after("/x/.raw"), std::nullopt);
  EXPECT_EQ(name_after("-.img"), std::nullopt);
}

Manifest imported_manifest() {
  const FileRecord record{.sha256 = kA, .size = 4, .mtime_ns = 5};
  return {.name = "debian",
          .format = "raw",
          .architecture = "x86_64",
          .built = "2026-11-21T02:10:46.000Z",
          .builder = "import-1",
          .key = kB,
          .disk = record,
          .imported = Imported{.file_name = "it's.qcow2",
                               .sha256 = kB,
                               .format = "qcow2+xz",
                               .layout = "Debian: 12, systemd",
                               .boot = "shim and GRUB",
                               .root = "ext4",
                               .agent_sha256 = kA,
                               .prepared = {"masked: a, b", "- x"}}};
}

TEST(ImportManifest, IsReadAsItWasWritten) {
  Manifest manifest = imported_manifest();
  const auto read = parse_manifest(print_manifest(manifest), "m");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, manifest);
  EXPECT_TRUE(print_manifest(manifest).starts_with("version: 3\n"));
  manifest.kernel = manifest.disk;
  manifest.tools = manifest.disk;
  manifest.imported->shortfall = {"y"};
  const auto more = parse_manifest(print_manifest(manifest), "m");
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_EQ(*more, manifest);
}

TEST(ImportManifest, AnOlderVersionKnowsNoImports) {
  std::string text = print_manifest(imported_manifest());
  text[9] = '2';
  EXPECT_FALSE(parse_manifest(text, "m"));
}

TEST(ImportStore, AllDamageIsNamed) {
  const TestStore store;
  store.add("one");
  ASSERT_TRUE(sys::write_file_atomic(store.path() / "one/vmlinuz", "kerneL"));
  ASSERT_TRUE(sys::write_file_atomic(store.path() / "one/initrd", "longer than it was"));
  const auto image = load_image(store.path(), "one");
  ASSERT_TRUE(image);
  const auto damage = all_damage(*image, CheckDepth::full);
  ASSERT_EQ(damage.size(), 2U);
  EXPECT_EQ(damage[0].message,
            "image \"one\" is damaged: vmlinuz is not what was built (its SHA-256 differs)");
  EXPECT_EQ(damage[1].message, "image \"one\" is damaged: initrd has 18 bytes, not 6");
  store.add("two");
  EXPECT_THAT(all_damage(*load_image(store.path(), "two"), CheckDepth::full), IsEmpty());
}

}  // namespace
}  // namespace pinhole::image
