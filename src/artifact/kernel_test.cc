// SPDX-License-Identifier: Apache-2.0
// Kernels, initrds, firmware and variable stores, good ones and their broken twins.
#include "artifact/kernel.h"

#include <archive.h>
#include <archive_entry.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "artifact/firmware.h"
#include "artifact/initrd.h"
#include "artifact/test_artifacts.h"
#include "sys/files.h"

namespace pinhole::artifact {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string said(const std::vector<Error>& problems) {
  return problems.empty() ? "" : problems.front().code + ": " + problems.front().message;
}
std::string kernel(const std::string& bytes, Machine machine = Machine::x86_64) {
  return said(judge_kernel(MemorySource(bytes), "k", machine).problems);
}
std::string changed(std::string bytes, std::size_t at, std::string_view text) {
  test::put(bytes, at, text);
  return bytes;
}

TEST(Kernel, OfEachKindIsTaken) {
  const KernelReport report = judge_kernel(MemorySource(test::kernel()), "k");
  EXPECT_EQ(said(report.problems), "");
  EXPECT_EQ(report.format, KernelFormat::bzimage);
  EXPECT_EQ(report.machine, Machine::x86_64);
  EXPECT_TRUE(report.has_efi_stub);
  EXPECT_EQ(kernel(test::elf()), "");
  EXPECT_EQ(kernel(test::arm64_image(), Machine::aarch64), "");
  EXPECT_EQ(kernel(test::kernel() + "a signature"), "");
  std::string old = test::kernel();  // without an EFI stub
  test::put(old, 0, "\xea\x05");
  test::put<std::uint32_t>(old, 0x264, 0);
  EXPECT_EQ(kernel(old), "");
}

TEST(Kernel, WhatIsNoneIsNamed) {
  EXPECT_EQ(
      kernel("<html><title>404</title>"),
      "kernel_is_no_kernel: cannot boot the kernel k: it has 24 bytes and is an HTML page, most "
      "likely a saved error page, not a Linux kernel");
  EXPECT_THAT(kernel(""), HasSubstr("it has 0 bytes and is an empty file"));
  EXPECT_THAT(kernel("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
              HasSubstr("a Git LFS pointer"));
  EXPECT_THAT(kernel(test::bootable_disk()), HasSubstr("a GPT disk"));
  EXPECT_THAT(kernel(test::pe()), HasSubstr("an EFI or Windows program"));
}

TEST(Kernel, IsComparedWithTheSizesOfItsHeader) {
  const std::string good = test::kernel();
  EXPECT_EQ(
      kernel(good.substr(0, 9000)),
      "kernel_truncated: cannot boot the kernel k: it is truncated: it has 9000 bytes, and its "
      "header says 17408");
  EXPECT_THAT(kernel(good.substr(0, good.size() - 16)), HasSubstr("kernel_truncated"));
  EXPECT_THAT(kernel(changed(good, 0x1fe, "x")),
              HasSubstr("its boot flag (byte 510) is not 55 aa"));
  EXPECT_THAT(kernel(changed(good, 0x207, "\x7f")), HasSubstr("its boot protocol is 0x7f0f"));
  EXPECT_THAT(kernel(changed(good, 0, "x")), HasSubstr("does not begin with \"MZ\""));
  EXPECT_THAT(kernel(changed(good, 0x290, "x")), HasSubstr("it has no PE signature"));
  EXPECT_THAT(kernel(changed(good, 1024, "x")),
              HasSubstr("where the compressed kernel begins, stands 78 8b 08 00"));
}

TEST(Kernel, PagesOfZerosInItsPayloadWereNeverWritten) {
  std::string torn = test::kernel(64 * 4096);
  EXPECT_EQ(kernel(torn), "");
  torn.replace(1024 + 10 * 4096, 8 * 4096, 8 * 4096, '\0');
  EXPECT_THAT(kernel(torn), HasSubstr("nothing but zeros: it was only partly written"));
}

TEST(Kernel, IsForOneMachine) {
  EXPECT_EQ(
      kernel(test::arm64_image()),
      "kernel_for_another_machine: cannot boot the kernel k: it is for aarch64, and the machine "
      "is x86_64");
  EXPECT_THAT(kernel(test::kernel(), Machine::aarch64), HasSubstr("it is for x86_64"));
  EXPECT_THAT(kernel(test::kernel(16384, 0x14c)), HasSubstr("it is for i386"));
  EXPECT_THAT(kernel(changed(test::kernel(), 0x236, std::string_view("\0", 1))),
              HasSubstr("it is for i386"));
  EXPECT_THAT(kernel(test::elf(183)), HasSubstr("it is for aarch64"));
  EXPECT_THAT(kernel(test::elf().substr(0, 200)), HasSubstr("kernel_truncated"));
}

/// `content` by one of libarchive's filters.
std::string compressed(const std::string& content, int (*filter)(archive*)) {
  std::string out(content.size() + 65536, '\0');
  std::size_t used = 0;
  archive* writer = archive_write_new();
  filter(writer);
  archive_write_set_format_raw(writer);
  archive_write_set_bytes_in_last_block(writer, 1);
  EXPECT_EQ(archive_write_open_memory(writer, out.data(), out.size(), &used), ARCHIVE_OK);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(writer, entry);
  archive_write_data(writer, content.data(), content.size());
  archive_write_close(writer);
  archive_entry_free(entry);
  archive_write_free(writer);
  out.resize(used);
  return out;
}

InitrdReport initrd(const std::string& bytes, Depth depth = Depth::full) {
  return judge_initrd(MemorySource(bytes), "i", depth);
}

TEST(Initrd, IsTakenInEachCompressionAndBehindMicrocode) {
  const std::string files = test::cpio({{"init", test::noise(30000)}, {"etc/x", "y"}});
  const std::string microcode = test::cpio({{"kernel/x86/microcode/GenuineIntel.bin", "m"}});
  EXPECT_EQ(said(initrd(files).problems), "");
  EXPECT_EQ(initrd(files).entries, 2U);
  for (auto filter : {archive_write_add_filter_gzip, archive_write_add_filter_xz,
                      archive_write_add_filter_zstd, archive_write_add_filter_bzip2,
                      archive_write_add_filter_lz4, archive_write_add_filter_lzma}) {
    const std::string packed = compressed(files, filter);
    const InitrdReport report = initrd(microcode + std::string(508, '\0') + packed);
    EXPECT_EQ(said(report.problems), "");
    EXPECT_EQ(report.parts.size(), 2U);
    EXPECT_EQ(report.entries, 3U);
    EXPECT_EQ(said(initrd(packed, Depth::quick).problems), "");
    // A stream that ends early.
    const auto cut = initrd(packed.substr(0, packed.size() / 2));
    EXPECT_THAT(said(cut.problems), testing::StartsWith("initrd_")) << report.parts[1];
  }
}

TEST(Initrd, ThatIsNoneOrEndsEarlyIsNamed) {
  const std::string files = test::cpio({{"init", std::string(3000, 'x')}});
  EXPECT_EQ(
      said(initrd("<html></html>").problems),
      "initrd_is_no_initrd: cannot use the initrd i: it has 13 bytes and is an HTML page, most "
      "likely a saved error page, not a cpio archive");
  EXPECT_EQ(
      said(initrd(files.substr(0, 2000)).problems),
      "initrd_truncated: cannot use the initrd i: it is truncated: its archive goes on behind "
      "byte 2000, and the file has 2000");
  EXPECT_THAT(said(initrd(files.substr(0, files.size() - 124)).problems),
              HasSubstr("initrd_truncated"));
  EXPECT_THAT(
      said(initrd(changed(files, 54, "zzzz")).problems),
      HasSubstr("initrd_damaged: cannot use the initrd i: it is damaged: at byte 0 there is a "
                "header that is no number"));
  EXPECT_THAT(said(initrd(files + "<html>").problems),
              HasSubstr("behind its archive, there is an HTML page"));
  EXPECT_THAT(said(initrd(compressed("not an archive", archive_write_add_filter_gzip)).problems),
              HasSubstr("its gzip stream holds a text file"));
  EXPECT_THAT(said(initrd("").problems), HasSubstr("an empty file"));
}

TEST(Firmware, IsVolumesWithCodeAtTheirEnd) {
  const auto fault = [](const std::string& bytes) {
    return firmware_fault(MemorySource(bytes)).value_or("");
  };
  const std::string good = test::firmware();
  EXPECT_EQ(fault(good), "");
  EXPECT_EQ(fault(""), "it is empty");
  EXPECT_EQ(fault("<html>"),
            "at byte 0 it holds no firmware volume, but is an HTML page, most likely a saved error "
            "page");
  EXPECT_THAT(fault(good.substr(0, 12288 + 2048)), HasSubstr("it is truncated"));
  EXPECT_THAT(fault(good.substr(0, 12288)), HasSubstr("there is no code at its end"));
  EXPECT_THAT(fault(changed(good, 0, "x")), HasSubstr("the checksum"));
  EXPECT_THAT(fault(good + std::string(4096, '\0')), HasSubstr("it holds no firmware volume"));
}

TEST(VariableStore, IsComparedWithItsTemplate) {
  const std::string original = test::variable_store();
  const auto fault = [&](const std::string& bytes) {
    return variable_store_fault(MemorySource(bytes), MemorySource(original)).value_or("");
  };
  EXPECT_EQ(fault(original), "");
  EXPECT_EQ(fault(changed(original, 30000, "a variable")), "");
  EXPECT_EQ(fault(""), "it is empty");
  EXPECT_EQ(fault(test::variable_store(131072)),
            "it has 131072 bytes, and this firmware's store 65536: it was cut short, or belongs to "
            "another firmware");
  EXPECT_EQ(fault(std::string(65536, '\0')), "it holds nothing but zeros");
  EXPECT_EQ(fault(test::firmware() + std::string(49152, 'x')),
            "its firmware volume is not for variables (is it the firmware itself?)");
  EXPECT_EQ(fault(changed(original, 48 + 2, "x")),
            "at byte 0 the checksum of a firmware volume's header does not hold");
  EXPECT_EQ(fault(changed(original, 0x48, "y")), "it has no header for variables");
  EXPECT_EQ(fault(changed(original, 0x48 + 16, std::string_view("\x00\x70", 2))),
            "it is laid out otherwise than this firmware's store: it belongs to another firmware");
  EXPECT_EQ(fault(changed(original, 0x48 + 21, "x")), "its variables are marked as not usable");
}

TEST(VariableStore, ThatIsBrokenIsMadeAnewByACommand) {
  const auto folder = sys::TempDir::make().value();
  const auto put = [&](const char* name, const std::string& content) {
    std::ofstream(folder.path() / name, std::ios::binary) << content;
    return folder.path() / name;
  };
  const fs::path original = put("template", test::variable_store());
  EXPECT_TRUE(check_firmware(put("code", test::firmware()), original));
  EXPECT_TRUE(check_variable_store(put("store", test::variable_store()), original, "web"));
  const auto broken = check_variable_store(put("store", ""), original, "web");
  EXPECT_EQ(broken.error().message,
            fmt::format("the EFI variable store {} cannot be used: it is empty",
                        (folder.path() / "store").string()));
  EXPECT_EQ(broken.error().fix, "pinhole up web --reset-efi-vars");
  EXPECT_EQ(check_firmware(put("code", "x"), original).error().fix,
            "sudo apt-get install --reinstall ovmf");
}

}  // namespace
}  // namespace pinhole::artifact
