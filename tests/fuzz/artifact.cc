// SPDX-License-Identifier: Apache-2.0
// Kernels, initrds, disks, firmware and variable stores that somebody else made. An artifact is described by how it differs from a
// good one, so that inputs stay small and hit what is read. The first byte chooses the kind.
#include <algorithm>
#include <vector>

#include "artifact/disk.h"
#include "artifact/firmware.h"
#include "artifact/identify.h"
#include "artifact/initrd.h"
#include "artifact/kernel.h"
#include "artifact/test_artifacts.h"
#include "fuzz/fuzz.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kUnit = 512;

/// Units of the good artifact that hold anything, and the one behind each of them.
std::vector<std::size_t> places(std::string_view bytes) {
  std::vector<std::size_t> found;
  for (std::size_t at = 0; at < bytes.size(); at += kUnit) {
    const bool used = bytes.substr(at, kUnit).find_first_not_of('\0') != std::string_view::npos;
    const bool behind = !found.empty() && found.back() + kUnit == at;
    if (used || behind) found.push_back(at);
  }
  return found;
}

struct Good {
  explicit Good(std::string content) : bytes(std::move(content)), used(places(bytes)) {}
  std::string bytes;
  std::vector<std::size_t> used;
};

std::string changed(const Good& good, fuzz::Input& input) {
  std::string bytes = good.bytes;
  while (!input.empty() && !good.used.empty()) {
    const std::size_t at = good.used[input.byte() % good.used.size()] + input.number(2) % kUnit;
    switch (input.byte() % 5) {
      case 0:
        bytes.resize(std::min(bytes.size(), at));
        break;
      case 1: {  // an integer that means something
        static constexpr std::uint64_t kValues[] = {0, 1, 0x7fffffff, 0xffffffff,
                                                    ~std::uint64_t{0}};
        const std::uint64_t value = kValues[input.byte() % 5] + input.byte();
        if (at + 8 <= bytes.size()) test::put<std::uint64_t>(bytes, at, value);
        break;
      }
      case 2:  // its checksums hold again
        if (bytes.size() == good.bytes.size() && bytes.size() % kUnit == 0 &&
            bytes.size() > 70 * kUnit && bytes.substr(kUnit, 8) == "EFI PART")
          test::seal_gpt(bytes, bytes.size() / kUnit - 1);
        break;
      default: {
        const std::string_view text = input.text(input.byte() % 48);
        if (at + text.size() <= bytes.size()) bytes.replace(at, text.size(), text);
      }
    }
  }
  return bytes;
}

void check(const std::vector<Error>& problems) {
  PINHOLE_CHECK(problems.size() < 64);
  for (const Error& problem : problems) {
    PINHOLE_CHECK(!problem.message.empty() && !problem.fix.empty() && !problem.code.empty());
    for (const char c : problem.message)
      PINHOLE_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  }
}

void play_disk(const std::string& bytes) {
  const DiskReport report = judge_disk(MemorySource(bytes), "d");
  check(report.problems);
  check(report.notes);
  PINHOLE_CHECK(report.size == bytes.size() && !report.what.empty());
  PINHOLE_CHECK(!report.esp || *report.esp < report.partitions.size());
  PINHOLE_CHECK(!report.boots_by_efi() || report.esp);
  const DiskReport raw = judge_raw_disk(MemorySource(bytes), "d", Machine::aarch64);
  PINHOLE_CHECK(raw.format == report.format);
  PINHOLE_CHECK(raw.format == DiskFormat::raw || !raw.problems.empty());
}

void play(fuzz::Input input) {
  static const Good disk(test::bootable_disk()), qcow2(test::qcow2()), vhd(test::vhd()),
      vmdk(test::vmdk()), iso(test::iso()), kernel(test::kernel(4096)), elf(test::elf()),
      arm(test::arm64_image()), firmware(test::firmware()), store(test::variable_store(4096)),
      files(test::cpio({{"init", "x"}, {"etc/hosts", "y"}}));
  switch (input.byte()) {
    case 'd':
      return play_disk(changed(disk, input));
    case 'q':
      return play_disk(changed(qcow2, input));
    case 'v':
      return play_disk(changed(vhd, input));
    case 'm':
      return play_disk(changed(vmdk, input));
    case 'i':
      return play_disk(changed(iso, input));
    case 'k':
      return check(judge_kernel(MemorySource(changed(kernel, input)), "k").problems);
    case 'e':
      return check(judge_kernel(MemorySource(changed(elf, input)), "k").problems);
    case 'a':
      return check(judge_kernel(MemorySource(changed(arm, input)), "k", Machine::aarch64).problems);
    case 'f':
      (void)firmware_fault(MemorySource(changed(firmware, input)));
      return;
    case 's':
      (void)variable_store_fault(MemorySource(changed(store, input)), MemorySource(store.bytes));
      return;
    case 'c':
      return check(judge_initrd(MemorySource(changed(files, input)), "i", Depth::full).problems);
    case 'x': {  // bytes as they are, which may be a compressed stream (one that unpacks to much only costs time)
      const std::string_view bytes = input.rest();
      check(judge_initrd(MemorySource(bytes), "i", Depth::quick).problems);
      return check(judge_kernel(MemorySource(bytes), "k").problems);
    }
    default:
      PINHOLE_CHECK(!identify(MemorySource(input.rest())).empty());
  }
}

}  // namespace
}  // namespace pinhole::artifact

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::artifact::play(pinhole::fuzz::Input(data, size));
  return 0;
}
