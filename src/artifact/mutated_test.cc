// SPDX-License-Identifier: Apache-2.0
// 500 artifacts that something happened to, the same ones each time: flipped bits, cut ends, another file under the name, sectors
// that changed places. No judge crashes or hangs, each refusal is one line with a way out, and where a field was hit that a judge
// looks at, the artifact is refused.
#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>

#include <gtest/gtest.h>

#include "artifact/disk.h"
#include "artifact/firmware.h"
#include "artifact/initrd.h"
#include "artifact/kernel.h"
#include "artifact/test_artifacts.h"

namespace pinhole::artifact {
namespace {

constexpr int kCases = 500;
constexpr std::chrono::seconds kLongest{2};  // with sanitizers, on a busy machine

/// xorshift64*, with a seed that never changes.
class Dice {
 public:
  std::uint64_t below(std::uint64_t bound) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL % bound;
  }

 private:
  std::uint64_t state_ = 0x5eed;
};

struct Range {
  std::size_t at;
  std::size_t size;
};

using Judge = std::function<std::vector<Error>(const std::string& bytes)>;

struct Kind {
  std::string name;
  std::string good;
  Judge judge;
  /// Any one bit flipped here must be refused.
  std::vector<Range> structure;
  /// So many bytes less, or more of them, must be refused.
  std::size_t cut;
};

Judge disk_of(DiskFormat format) {
  return [format](const std::string& bytes) {
    const MemorySource source(bytes);
    DiskReport report =
        format == DiskFormat::raw ? judge_raw_disk(source, "d") : judge_disk(source, "d");
    if (report.problems.empty() && report.format != format)
      report.problems.push_back({.message = "of another format", .fix = "-", .code = "-"});
    return report.problems;
  };
}

Judge kernel_of(KernelFormat format) {
  return [format](const std::string& bytes) {
    KernelReport report = judge_kernel(MemorySource(bytes), "k");
    if (report.problems.empty() && report.format != format)
      report.problems.push_back({.message = "of another format", .fix = "-", .code = "-"});
    return report.problems;
  };
}

std::vector<Error> as_error(const std::optional<std::string>& fault) {
  if (!fault) return {};
  return {{.message = *fault, .fix = "-", .code = "-"}};
}

std::vector<Kind> kinds() {
  const std::string disk = test::bootable_disk();
  const std::size_t backup = disk.size() - 512, esp = test::kFirstUsable * 512;
  const std::size_t file = esp + 512 + 4 * 512 + 512 + 1024;  // the boot file
  const std::string vhd = test::vhd(), store = test::variable_store(),
                    files = test::cpio({{"init", std::string(3000, 'x')}});
  return {
      {"kernel",
       test::kernel(),
       kernel_of(KernelFormat::bzimage),
       {{0, 2},
        {0x1f4, 4},
        {0x1fe, 2},
        {0x202, 4},
        {0x207, 1},
        {0x290, 6},
        {0x290 + 92, 2},
        {1024, 2}},
       16},
      {"ELF kernel", test::elf(), kernel_of(KernelFormat::elf), {{0, 5}, {18, 2}}, 1},
      {"initrd",
       files,
       [](const std::string& bytes) {
         return judge_initrd(MemorySource(bytes), "i", Depth::full).problems;
       },
       {{0, 6}, {files.size() - 124, 6}, {files.size() - 14, 10}},
       4},
      {"raw disk",
       disk,
       disk_of(DiskFormat::raw),
       {{446 + 4, 1},
        {446 + 8, 4},
        {510, 2},
        {512, 92},
        {1024, test::kArraySectors * 512},
        {backup - test::kArraySectors * 512, test::kArraySectors * 512},
        {backup, 92},
        {esp + 11, 3},
        {esp + 510, 3},
        {file, 2},
        {file + 0x80, 6}},
       1},
      {"qcow2", test::qcow2(), disk_of(DiskFormat::qcow2), {{0, 8}, {8, 8}, {20, 4}, {32, 4}}, 512},
      {"VHD", vhd, disk_of(DiskFormat::vhd), {{0, 1536}, {vhd.size() - 512, 512}}, 1},
      {"VMDK", test::vmdk(), disk_of(DiskFormat::vmdk), {{0, 4}, {20, 8}, {28, 8}, {73, 4}}, 3600},
      {"ISO",
       test::iso(),
       disk_of(DiskFormat::iso),
       {{32769, 5}, {32768 + 80, 8}, {32768 + 128, 2}, {34816, 6}},
       1},
      {"firmware",
       test::firmware(),
       [](const std::string& bytes) { return as_error(firmware_fault(MemorySource(bytes))); },
       {{0, 0x48}, {12288, 0x48}},
       1},
      {"variable store",
       store,
       [store](const std::string& bytes) {
         return as_error(variable_store_fault(MemorySource(bytes), MemorySource(store)));
       },
       {{0, 0x48 + 22}},
       1},
  };
}

void flip(std::string& bytes, std::size_t at, Dice& dice) {
  bytes[at] = static_cast<char>(bytes[at] ^ (1 << dice.below(8)));
}

struct Mutation {
  std::string bytes;
  std::string what;
  bool must_be_refused = false;
};

Mutation mutate(const std::vector<Kind>& all, const Kind& kind, Dice& dice) {
  Mutation made{.bytes = kind.good};
  std::string& bytes = made.bytes;
  switch (dice.below(5)) {
    case 0: {
      const Range range = kind.structure[dice.below(kind.structure.size())];
      const std::size_t at = range.at + dice.below(range.size);
      flip(bytes, at, dice);
      made.what = fmt::format("a bit of byte {}", at);
      made.must_be_refused = true;
      break;
    }
    case 1:
      for (std::uint64_t n = 1 + dice.below(16); n > 0; --n)
        flip(bytes, dice.below(bytes.size()), dice);
      made.what = "bits anywhere";
      break;
    case 2:
      bytes.resize(dice.below(bytes.size() - kind.cut + 1));
      made.what = fmt::format("cut to {}", bytes.size());
      made.must_be_refused = true;
      break;
    case 3: {
      const Kind& other = all[dice.below(all.size())];
      if (&other == &kind) {
        bytes = "<!DOCTYPE html><title>404</title>";
      } else {
        bytes = other.good;
      }
      made.what = "another file: " + other.name;
      made.must_be_refused = true;
      break;
    }
    default: {
      constexpr std::size_t kBlock = 512;
      const std::size_t blocks = bytes.size() / kBlock;
      if (blocks < 2) break;
      const std::size_t a = dice.below(blocks) * kBlock, b = dice.below(blocks) * kBlock;
      const std::string kept = bytes.substr(a, kBlock);
      bytes.replace(a, kBlock, bytes, b, kBlock);
      bytes.replace(b, kBlock, kept);
      made.what = fmt::format("sectors at {} and {} exchanged", a, b);
    }
  }
  return made;
}

TEST(FiveHundredMutatedArtifacts, AreRefusedWithAMessageOrHarmlessAndNeverCrashOrHang) {
  const std::vector<Kind> all = kinds();
  for (const Kind& kind : all) {
    const auto problems = kind.judge(kind.good);
    ASSERT_TRUE(problems.empty()) << kind.name << ": " << problems.front().message;
  }
  Dice dice;
  int refused = 0;
  for (int i = 0; i < kCases; ++i) {
    const Kind& kind = all[static_cast<std::size_t>(i) % all.size()];
    const Mutation mutation = mutate(all, kind, dice);
    SCOPED_TRACE(fmt::format("{}: {}, {}", i, kind.name, mutation.what));
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Error> problems = kind.judge(mutation.bytes);
    EXPECT_LT(std::chrono::steady_clock::now() - start, kLongest);
    if (mutation.must_be_refused) EXPECT_FALSE(problems.empty());
    for (const Error& problem : problems) {
      EXPECT_FALSE(problem.message.empty() || problem.fix.empty() || problem.code.empty());
      EXPECT_TRUE(std::ranges::all_of(problem.message, [](char c) {
        return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
      })) << problem.message;
    }
    refused += problems.empty() ? 0 : 1;
  }
  EXPECT_GE(refused, kCases * 6 / 10);
  EXPECT_LT(refused, kCases);  // a judge that refuses everything is none
}

}  // namespace
}  // namespace pinhole::artifact
