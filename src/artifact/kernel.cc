// SPDX-License-Identifier: Apache-2.0
#include "artifact/kernel.h"

#include <algorithm>
#include <array>

#include "artifact/files.h"
#include "artifact/identify.h"
#include "artifact/pe.h"
#include "artifact/unpack.h"
#include "failures/artifacts.h"

namespace pinhole::artifact {
namespace {

using namespace std::string_view_literals;

/// Collects what is wrong, in words of the table.
class Judge {
 public:
  Judge(const Source& source, const std::string& name, Machine wanted, KernelReport& report)
      : source_(source), name_(name), wanted_(wanted), report_(report) {}

  void bzimage(const Block& head);
  void arm64(const Block& head);
  void zboot(const Block& head);
  void elf(const Block& head);
  void gzip();
  void no_kernel() {
    report_.problems.push_back(failures::told(
        failures::kKernelIsNoKernel,
        {{"file", name_}, {"size", std::to_string(source_.size())}, {"what", report_.what}}));
  }

 private:
  void damaged(std::string what) {
    report_.problems.push_back(
        failures::told(failures::kKernelDamaged, {{"file", name_}, {"what", std::move(what)}}));
  }
  void truncated(std::uint64_t expected) {
    report_.problems.push_back(
        failures::told(failures::kKernelTruncated, {{"file", name_},
                                                    {"size", std::to_string(source_.size())},
                                                    {"expected", std::to_string(expected)}}));
  }
  void is_for(std::optional<Machine> machine, std::string_view found) {
    if (!report_.machine) report_.machine = machine;
    if (machine == wanted_ || told_machine_) return;
    told_machine_ = true;
    report_.problems.push_back(failures::told(failures::kKernelForAnotherMachine,
                                              {{"file", name_},
                                               {"found", std::string(found)},
                                               {"wanted", std::string(to_string(wanted_))}}));
  }
  void stub();
  void payload(std::uint64_t at, std::uint64_t size);

  const Source& source_;
  const std::string& name_;
  Machine wanted_;
  KernelReport& report_;
  bool told_machine_ = false;
};

/// The EFI program that a kernel is too.
void Judge::stub() {
  const auto pe = parse_pe(source_);
  if (!pe && pe.error().needed != 0) return truncated(pe.error().needed);
  if (!pe) return damaged(fmt::format("its EFI stub is no PE program: {}", pe.error().what));
  report_.has_efi_stub = true;
  if (pe->subsystem != kEfiApplication)
    return damaged(fmt::format("its EFI stub is a program of another kind ({})", pe->subsystem));
  is_for(pe_machine(pe->machine), pe_machine_name(pe->machine));
}

/// What is compressed has no pages of zeros: one that is there was never written.
void Judge::payload(std::uint64_t at, std::uint64_t size) {
  constexpr std::size_t kPage = 4096;
  constexpr std::uint64_t kSamples = 64;
  const std::string head = source_.text(at, 16);
  if (!compression_of(head) && !head.starts_with("\x89LZO"sv) &&
      !head.starts_with("\x7f"
                        "ELF"sv)) {
    return damaged(fmt::format("at byte {}, where the compressed kernel begins, stands {}", at,
                               first_bytes(head)));
  }
  if (const std::uint64_t hole = source_.next_hole(at); hole < at + size)
    return damaged(fmt::format("it has a hole at byte {}: it was only partly written", hole));
  if (size < 2 * kPage) return;
  const std::uint64_t step = std::max<std::uint64_t>(kPage, (size - kPage) / kSamples);
  for (std::uint64_t offset = 0; offset + kPage <= size; offset += step) {
    const Block page(source_, at + offset, kPage);
    if (page.ok() && page.text(0, kPage).find_first_not_of('\0') == std::string_view::npos)
      return damaged(fmt::format(
          "at byte {} it holds nothing but zeros: it was only partly written", at + offset));
  }
}

void Judge::bzimage(const Block& head) {
  constexpr std::size_t kSetupSectors = 0x1f1, kSystemSize = 0x1f4, kBootFlag = 0x1fe,
                        kProtocol = 0x206, kLoadFlags = 0x211, kLongFlags = 0x236,
                        kPayloadAt = 0x248, kPayloadSize = 0x24c, kHandover = 0x264;
  constexpr std::uint16_t kOldest = 0x206, kNewest = 0x2ff, kHasLongFlags = 0x20c;
  report_.format = KernelFormat::bzimage;
  const std::uint16_t protocol = head.le16(kProtocol);
  if (head.le16(kBootFlag) != 0xaa55) return damaged("its boot flag (byte 510) is not 55 aa");
  if (protocol < kOldest || protocol > kNewest)
    return damaged(fmt::format("its boot protocol is {:#x}", protocol));
  if ((head.u8(kLoadFlags) & 1) == 0) return damaged("it is not to be loaded high (no bzImage)");
  const std::uint64_t sectors = head.u8(kSetupSectors) == 0 ? 4 : head.u8(kSetupSectors);
  const std::uint64_t setup = (sectors + 1) * 512;
  const std::uint64_t system = std::uint64_t{head.le32(kSystemSize)} * 16;
  constexpr std::uint64_t kMostSectors = 63;  // below the 32 KiB that the protocol allows
  if (sectors > kMostSectors || system == 0) return damaged("its header has no sizes that can be");
  // The size is in units of 16 bytes, rounded up.
  if (source_.size() + 15 < setup + system) return truncated(setup + system);
  if (head.text(0, 2) == "MZ") {
    stub();
  } else if (head.le32(kHandover) != 0) {
    return damaged(
        "its beginning was overwritten: it has an EFI stub and does not begin with \"MZ\"");
  }
  // Without the flag it is for 32 bits, whatever its stub is.
  const bool is_long = protocol < kHasLongFlags || (head.le16(kLongFlags) & 1) != 0;
  is_for(is_long ? std::optional(Machine::x86_64) : std::nullopt, is_long ? "x86_64" : "i386");
  const std::uint64_t at = head.le32(kPayloadAt), size = head.le32(kPayloadSize);
  if (at + size > system) return damaged("its compressed kernel would lie behind its end");
  if (size != 0 && report_.problems.empty()) payload(setup + at, size);
}

void Judge::arm64(const Block& head) {
  constexpr std::size_t kImageSize = 16, kFlags = 24;
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 32;
  report_.format = KernelFormat::arm64_image;
  const std::uint64_t size = head.le64(kImageSize);  // in memory: with what is zero at first
  if (size == 0 || size > kLargest)
    return damaged(fmt::format("it says that it takes {} bytes", size));
  if ((head.le64(kFlags) & 1) != 0) return damaged("it is for big-endian machines");
  if (head.text(0, 2) == "MZ") stub();
  is_for(Machine::aarch64, "aarch64");
}

void Judge::zboot(const Block& head) {
  report_.format = KernelFormat::zboot;
  const std::uint64_t at = head.le32(8), size = head.le32(12);
  if (at + size > source_.size()) return truncated(at + size);
  if (size == 0) return damaged("its compressed kernel is empty");
  stub();
  if (report_.problems.empty()) payload(at, size);
}

void Judge::elf(const Block& head) {
  constexpr std::size_t kType = 16, kMachine = 18, kProgramsAt = 32, kSectionsAt = 40,
                        kProgramSize = 54, kProgramCount = 56, kSectionSize = 58,
                        kSectionCount = 60;
  constexpr std::size_t kProgramHeader = 56;
  constexpr std::uint16_t kMostPrograms = 128;
  report_.format = KernelFormat::elf;
  if (head.u8(4) != 2 || head.u8(5) != 1) return is_for(std::nullopt, "32 bits or big-endian");
  is_for(elf_machine(head.le16(kMachine)), elf_machine_name(head.le16(kMachine)));
  const std::uint16_t type = head.le16(kType);
  if (type != 2 && type != 3) return damaged("it is an ELF file that is no program");
  const std::uint64_t programs = head.le64(kProgramsAt), sections = head.le64(kSectionsAt);
  const std::uint16_t count = head.le16(kProgramCount);
  if (head.le16(kProgramSize) != kProgramHeader || count == 0 || count > kMostPrograms)
    return damaged("it has no program headers");
  const Block table(source_, programs, count * kProgramHeader);
  if (!table.ok()) return truncated(programs + count * kProgramHeader);
  std::uint64_t end = 0;
  for (std::size_t at = 0; at < table.size(); at += kProgramHeader) {
    const std::uint64_t start = table.le64(at + 8), size = table.le64(at + 32);
    if (start > source_.size() || size > source_.size() - start)
      return truncated(start + std::min(size, ~start));
    end = std::max(end, start + size);
  }
  const std::uint64_t sections_size =
      std::uint64_t{head.le16(kSectionSize)} * head.le16(kSectionCount);
  if (sections > source_.size() || sections_size > source_.size() - sections)
    return truncated(sections + std::min(sections_size, ~sections));
  if (end == 0) return damaged("nothing of it would be loaded");
}

void Judge::gzip() {
  constexpr std::uint64_t kMostUnpackedImage = std::uint64_t{256} << 20;
  UnpackedStream stream(source_, kMostUnpackedImage);
  const std::string head(stream.peek(64));
  if (head.size() < 64 || head.substr(56, 4) != "ARM\x64"sv) {
    if (!stream.damage().empty())
      return damaged(fmt::format("it does not decompress ({})", stream.damage()));
    report_.what = fmt::format("gzip-compressed, and holds {}", identify(head));
    return no_kernel();
  }
  const MemorySource inner(head);
  arm64(Block(inner, 0, 64));
  report_.format = KernelFormat::gzip_image;
  if (!report_.problems.empty()) return;
  stream.skip(kMostUnpackedImage);
  if (!stream.damage().empty())
    damaged(fmt::format("it ends or breaks after {} unpacked bytes ({})", stream.at(),
                        stream.damage()));
}

}  // namespace

KernelReport judge_kernel(const Source& source, const std::string& name, Machine machine) {
  constexpr std::size_t kHead = 0x268;
  constexpr std::size_t kShortHead = 64;
  KernelReport report{.what = identify(source)};
  Judge judge(source, name, machine, report);
  const Block head(source, 0, kHead);
  const auto at = [&](std::size_t offset, std::string_view magic) {
    return offset + magic.size() <= head.size() && head.text(offset, magic.size()) == magic;
  };
  if (head.ok() && at(0x202, "HdrS")) {
    judge.bzimage(head);
  } else if (head.size() >= kShortHead && at(0, "MZ") && at(4, "zimg")) {
    judge.zboot(head);
  } else if (head.size() >= kShortHead && at(56, "ARM\x64"sv)) {
    judge.arm64(head);
  } else if (head.size() >= kShortHead && at(0,
                                             "\x7f"
                                             "ELF"sv)) {
    report.what = "an ELF program";
    judge.elf(head);
  } else if (at(0, "\x1f\x8b"sv)) {
    judge.gzip();
  } else {
    judge.no_kernel();
  }
  return report;
}

Result<void> check_kernel(const std::filesystem::path& path, Machine machine) {
  PINHOLE_TRY(const Fd file, open_to_judge(path));
  return first_of(judge_kernel(FileSource(file.get()), path.string(), machine).problems);
}

}  // namespace pinhole::artifact
