// SPDX-License-Identifier: Apache-2.0
#include "artifact/pe.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/printable.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kDosHeader = 64;
constexpr std::size_t kHeaderAt = 0x3c;
constexpr std::uint64_t kFarthestHeader = std::uint64_t{1} << 20;
constexpr std::size_t kCoffHeader = 24;  // with the signature
constexpr std::size_t kSectionHeader = 40;
constexpr std::uint16_t kMostSections = 96;  // of the format
constexpr std::uint16_t kLargestOptional = 4096;
constexpr std::uint16_t kPe32 = 0x10b;
constexpr std::uint16_t kPe32Plus = 0x20b;

std::unexpected<PeFault> fault(std::string what) {
  return std::unexpected(PeFault{.what = std::move(what)});
}
std::unexpected<PeFault> cut(std::string_view part, std::uint64_t needed) {
  return std::unexpected(
      PeFault{.what = fmt::format("its {} reaches to {}", part, needed), .needed = needed});
}

struct Headers {
  std::uint64_t optional_at = 0;
  std::uint16_t optional_size = 0;
  std::uint16_t sections = 0;
};

/// Entry point, subsystem and signatures. Offsets are those of the optional header; what comes behind the 32-bit form's
/// heap sizes stands 16 bytes later in the 64-bit one.
std::expected<void, PeFault> read_optional(const Source& source, const Headers& headers, Pe& pe) {
  constexpr std::size_t kEntry = 16, kHeadersSize = 60, kSubsystem = 68, kDirectories = 92;
  constexpr std::size_t kSignatures = 4;  // index of the directory
  constexpr std::size_t kSmallest = kDirectories + 4;
  const Block optional(source, headers.optional_at, headers.optional_size);
  if (!optional.ok()) return cut("header", headers.optional_at + headers.optional_size);
  if (optional.size() < kSmallest + 16) return fault("its optional header is too short");
  const std::uint16_t magic = optional.le16(0);
  if (magic != kPe32 && magic != kPe32Plus) return fault("its optional header is of no known kind");
  const std::size_t shift = magic == kPe32Plus ? 16 : 0;
  pe.subsystem = optional.le16(kSubsystem);
  if (optional.le32(kEntry) == 0) return fault("it has no entry point");
  if (optional.le32(kHeadersSize) > source.size())
    return cut("header", optional.le32(kHeadersSize));
  const std::uint32_t directories = optional.le32(kDirectories + shift);
  const std::size_t at = kDirectories + shift + 4 + kSignatures * 8;
  if (directories <= kSignatures || at + 8 > optional.size()) return {};
  const std::uint64_t end = std::uint64_t{optional.le32(at)} + optional.le32(at + 4);
  if (optional.le32(at) != 0 && end > source.size()) return cut("signature", end);
  return {};
}

std::expected<void, PeFault> read_sections(const Source& source, const Headers& headers, Pe& pe) {
  const std::uint64_t table = headers.optional_at + headers.optional_size;
  const Block block(source, table, headers.sections * kSectionHeader);
  if (!block.ok()) return cut("table of sections", table + headers.sections * kSectionHeader);
  for (std::size_t at = 0; at < block.size(); at += kSectionHeader) {
    std::string_view name = block.text(at, 8);
    name = name.substr(0, name.find('\0'));
    const PeSection section{
        .name = printable(name, 16), .at = block.le32(at + 20), .size = block.le32(at + 16)};
    const std::uint64_t end = section.at + section.size;
    if (section.at != 0 && end > source.size())
      return cut(fmt::format("section {}", section.name), end);
    pe.sections.push_back(section);
  }
  return {};
}

}  // namespace

std::expected<Pe, PeFault> parse_pe(const Source& source) {
  const Block dos(source, 0, kDosHeader);
  if (!dos.ok() || dos.text(0, 2) != "MZ") return fault("it does not begin with \"MZ\"");
  const std::uint64_t header = dos.le32(kHeaderAt);
  if (header > kFarthestHeader) return fault("its header is nowhere");
  const Block coff(source, header, kCoffHeader);
  if (!coff.ok()) return cut("header", header + kCoffHeader);
  if (coff.text(0, 4) != std::string_view("PE\0\0", 4)) return fault("it has no PE signature");
  Pe pe{.machine = coff.le16(4)};
  const Headers headers{.optional_at = header + kCoffHeader,
                        .optional_size = coff.le16(20),
                        .sections = coff.le16(6)};
  if (headers.sections == 0 || headers.sections > kMostSections)
    return fault(fmt::format("it says that it has {} sections", headers.sections));
  if (headers.optional_size > kLargestOptional) return fault("its optional header is too long");
  if (auto read = read_optional(source, headers, pe); !read) return std::unexpected(read.error());
  if (auto read = read_sections(source, headers, pe); !read) return std::unexpected(read.error());
  return pe;
}

}  // namespace pinhole::artifact
