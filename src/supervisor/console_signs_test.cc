// SPDX-License-Identifier: Apache-2.0
// The samples in tests/data/console are what real machines said: OVMF 2022.11, GRUB 2.06, Linux 6.1 and systemd 252 under
// QEMU 7.2.
#include "supervisor/console_signs.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string sample(const char* name) {
  const auto path = std::filesystem::path(PINHOLE_SOURCE_DIR) / "tests/data/console" / name;
  return sys::read_file(path, 1 << 20).value();
}

std::vector<ConsoleSign> signs_of(std::string_view text) {
  ConsoleSigns signs;
  return signs.feed(text);
}
std::string line_of(std::string_view text, ConsoleSign sign) {
  ConsoleSigns signs;
  signs.feed(text);
  return signs.line(sign);
}

TEST(ConsoleSigns, AnEmptyDiskEndsInTheShell) {
  const std::string text = sample("ovmf-no-boot-file.txt");
  EXPECT_THAT(signs_of(text), ElementsAre(ConsoleSign::boot_file_missing, ConsoleSign::efi_shell));
  EXPECT_EQ(line_of(text, ConsoleSign::boot_file_missing),
            "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from "
            "PciRoot(0x0)/Pci(0x1,0x0): Not Found");
}

TEST(ConsoleSigns, ABootFileThatFailsIsSeenFailing) {
  EXPECT_THAT(
      signs_of(sample("ovmf-boot-file-fails.txt")),
      ElementsAre(ConsoleSign::boot_loader, ConsoleSign::boot_file_failed, ConsoleSign::efi_shell));
}

TEST(ConsoleSigns, ABootFileThatReturnsLeadsToTheFirmwaresMenu) {
  EXPECT_THAT(signs_of(sample("ovmf-boot-file-returns.txt")),
              ElementsAre(ConsoleSign::boot_loader, ConsoleSign::firmware_setup));
}

TEST(ConsoleSigns, AGoodBootShowsItsStagesAndNothingElse) {
  EXPECT_THAT(signs_of(sample("unified-kernel-systemd.txt")),
              ElementsAre(ConsoleSign::boot_loader, ConsoleSign::kernel, ConsoleSign::init));
}

TEST(ConsoleSigns, GrubWithoutItsConfigurationStopsAtItsPrompt) {
  EXPECT_THAT(signs_of(sample("grub-prompt.txt")), testing::Contains(ConsoleSign::grub_prompt));
}

TEST(ConsoleSigns, PanicsAreSeenWithTheirReason) {
  const auto reason = [](const char* name) {
    return std::string(panic_reason(line_of(sample(name), ConsoleSign::kernel_panic)));
  };
  EXPECT_EQ(reason("panic-noroot.txt"), "VFS: Unable to mount root fs on unknown-block(0,0)");
  EXPECT_EQ(reason("panic-badinit.txt"),
            "No working init found.  Try passing init= option to kernel. See Linux "
            "Documentation/admin-guide/init.rst for guidance.");
  EXPECT_EQ(reason("panic-endinit.txt"), "Attempted to kill init! exitcode=0x00000300");
  EXPECT_EQ(panic_reason("Kernel panic - not syncing"), "Kernel panic - not syncing");
}

TEST(ConsoleSigns, SystemdsEmergencyModeIsSeen) {
  const std::string text = sample("systemd-emergency.txt");
  EXPECT_THAT(signs_of(text), testing::Contains(ConsoleSign::emergency_shell));
}

TEST(ConsoleSigns, PromptsAreSeenWithoutANewline) {
  EXPECT_THAT(signs_of("\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\nweb login: "),
              ElementsAre(ConsoleSign::login));
  EXPECT_THAT(signs_of("error: no such device: 1234.\r\nEntering rescue mode...\r\ngrub rescue> "),
              ElementsAre(ConsoleSign::grub_error, ConsoleSign::grub_prompt));
  EXPECT_THAT(signs_of("ALERT!  UUID=1 does not exist.  Dropping to a shell!\r\n\r\n\r\nBusyBox "
                       "v1.35.0 (Debian 1:1.35.0-4+deb12u1) built-in shell (ash)\r\nEnter 'help' "
                       "for a list of built-in commands.\r\n\r\n(initramfs) "),
              ElementsAre(ConsoleSign::root_missing, ConsoleSign::initramfs_shell));
  EXPECT_THAT(signs_of("Give root password for maintenance\r\n(or press Control-D to continue): "),
              ElementsAre(ConsoleSign::emergency_shell));
}

TEST(ConsoleSigns, CausesAreSeenInTheKernelsAndOthersWords) {
  const auto one = [](std::string_view line, ConsoleSign sign) {
    const auto found = signs_of(std::string(line) + "\n");
    EXPECT_THAT(found, ElementsAre(sign)) << line;
  };
  one("[   30.1] No such thing: [    3.123456] No space left on device", ConsoleSign::disk_full);
  one("[   12.000001] Out of memory: Killed process 123 (python3) total-vm:1kB",
      ConsoleSign::out_of_memory);
  one("[   12.000001] EXT4-fs error (device vda2): ext4_lookup:1848: inode #2: comm ls: bad",
      ConsoleSign::disk_error);
  one("[   12.000001] I/O error, dev vda, sector 12 op 0x0:(READ) flags 0x80700",
      ConsoleSign::disk_error);
  one("/dev/vda2: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.", ConsoleSign::fsck_failed);
  one("systemd-fsck[99]: fsck failed with exit status 4.", ConsoleSign::fsck_failed);
  one("fsck exited with status code 12", ConsoleSign::fsck_failed);
  one("[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mweb.service\x1b[0m - A web server.",
      ConsoleSign::unit_failed);
  one("[   20.000001] cloud-init[178]: 2026-11-23 - schema.py[WARNING]: Invalid cloud-config "
      "provided: Please run 'sudo cloud-init schema --system'",
      ConsoleSign::user_data_refused);
  one("[   30.000001] cloud-init[300]: Cloud-init v. 22.4.2 finished at Mon, 23 Nov 2026. Up 30",
      ConsoleSign::cloud_init_done);
  one("   OpenRC 0.52.1 is starting up Linux 6.6.0 (x86_64)", ConsoleSign::init);
  one("No bootable device.", ConsoleSign::no_boot_option);
  one("BdsDxe: No bootable option or device was found.", ConsoleSign::no_boot_option);
  one("Welcome to GRUB!", ConsoleSign::boot_loader);
}

TEST(ConsoleSigns, WhatOnlyResemblesThemIsNone) {
  for (const char* line :
       {"a login:here", "Memory cgroup out of memory: Killed process 1 (x)", "the grub> prompt",
        "[  OK ] no", "my Shell> ", "[12] text", "[ x.123456] text", "finished at last",
        "fsck exited with status code 1", "done (fsck failed with exit status 0)",
        "kernel panic - not syncing: lower case", "(initramfs)", "welcome to the machine"})
    EXPECT_THAT(signs_of(std::string(line) + "\n"), IsEmpty()) << line;
}

TEST(ConsoleSigns, OfAPanicTheLastWordCountsAndItsClosingLineDoesNot) {
  const std::string text =
      "[    1.000000] Kernel panic - not syncing: first\n"
      "[    2.000000] Kernel panic - not syncing: second\n"
      "[    2.000001] ---[ end Kernel panic - not syncing: second ]---\n";
  ConsoleSigns signs;
  EXPECT_THAT(signs.feed(text), ElementsAre(ConsoleSign::kernel_panic));
  EXPECT_EQ(signs.count(ConsoleSign::kernel_panic), 2);
  EXPECT_EQ(panic_reason(signs.line(ConsoleSign::kernel_panic)), "second");
  signs.forget();
  EXPECT_FALSE(signs.seen(ConsoleSign::kernel_panic));
}

/// What is known after a text that came in these pieces.
std::string known(std::string_view text, const std::function<std::size_t()>& piece) {
  ConsoleSigns signs;
  while (!text.empty()) {
    const std::size_t size = std::min(text.size(), std::max<std::size_t>(piece(), 1));
    signs.feed(text.substr(0, size));
    text.remove_prefix(size);
  }
  std::string out;
  for (std::size_t i = 0; i < kConsoleSigns; ++i) {
    const auto sign = static_cast<ConsoleSign>(i);
    out += fmt::format("{} {} {}\n", i, signs.count(sign), signs.line(sign));
  }
  return out;
}

TEST(ConsoleSigns, HowTheBytesAreCutChangesNothing) {
  std::minstd_rand random(7);
  for (const char* name : {"ovmf-no-boot-file.txt", "ovmf-boot-file-returns.txt",
                           "unified-kernel-systemd.txt", "panic-noroot.txt", "grub-prompt.txt"}) {
    const std::string text = sample(name);
    const std::string whole = known(text, [&] { return text.size(); });
    EXPECT_EQ(known(text, [] { return 1; }), whole) << name;
    for (int round = 0; round < 50; ++round)
      EXPECT_EQ(known(text, [&] { return random() % 40; }), whole) << name;
  }
}

TEST(ConsoleSigns, AHostileStreamIsBoundedAndHidesNothingAfterIt) {
  constexpr int kMany = 100'000;
  ConsoleSigns signs;
  signs.feed(std::string(1 << 20, 'x'));
  signs.feed(std::string(1 << 20, '\x1b') + "[" + std::string(1 << 20, ';'));
  signs.feed(std::string("\0\xff\x80\x9b\r\r\r", 7));
  std::string flood;
  for (int i = 0; i < kMany; ++i) flood += "grub> ";
  EXPECT_LE(signs.feed(flood).size(), kConsoleSigns);
  std::string panics;
  for (int i = 0; i < kMany; ++i) panics += "Kernel panic - not syncing: x\n";
  EXPECT_THAT(signs.feed("\n" + panics), ElementsAre(ConsoleSign::kernel_panic));
  EXPECT_EQ(signs.count(ConsoleSign::kernel_panic), kMany);
  EXPECT_THAT(signs.feed("Out of memory: Killed process 1 " + std::string(1 << 20, 'y') + "\n"),
              ElementsAre(ConsoleSign::out_of_memory));
  EXPECT_LE(signs.line(ConsoleSign::out_of_memory).size(), ConsoleText::kLongest);
  std::minstd_rand random(1);
  std::string noise(1 << 16, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  for (int i = 0; i < 20; ++i) signs.feed(noise);
  EXPECT_THAT(signs.feed("\nweb login: "), ElementsAre(ConsoleSign::login));
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  ConsoleText console(
      {.grown = nullptr, .line = [&](std::string_view line) { lines.emplace_back(line); }});
  console.feed(text);
  lines.push_back("<" + std::string(console.unfinished()) + ">");
  return lines;
}

TEST(ConsoleText, IsWhatAPersonWouldRead) {
  EXPECT_THAT(lines_of("\x1b[2J\x1b[01;01H\x1b[=3h\x1b[1mbold\x1b[0m text\r\r\n\r\nnext"),
              ElementsAre("bold text", "<next>"));
  EXPECT_THAT(lines_of("10%\r20%\r30%\n"), ElementsAre("10%", "20%", "30%", "<>"));
  EXPECT_THAT(lines_of("\x1b[10;01Hone\x1b[11;01Htwo\n"), ElementsAre("one", "two", "<>"));
  EXPECT_THAT(lines_of("cut \x1b[\xe2\x80\xa6in two\n"),
              ElementsAre("cut \xe2\x80\xa6in two", "<>"));
}

}  // namespace
}  // namespace pinhole::supervisor
