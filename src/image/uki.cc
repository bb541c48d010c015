// SPDX-License-Identifier: Apache-2.0
#include "image/uki.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace pinhole::image {
namespace {

// Offsets of the PE format (Microsoft, "PE Format"): in the COFF header, the PE32+ optional header
// and a section's header.
constexpr std::size_t kLfanew = 0x3c;
constexpr std::size_t kCoffSize = 20;
constexpr std::size_t kSectionCount = 2;
constexpr std::size_t kOptionalSize = 16;
constexpr std::size_t kInitializedSize = 8;
constexpr std::size_t kFileAlignment = 36;
constexpr std::size_t kSectionAlignment = 32;
constexpr std::size_t kImageSize = 56;
constexpr std::size_t kHeadersSize = 60;
constexpr std::size_t kOptionalMin = 112;
constexpr std::size_t kSectionHeader = 40;
constexpr std::uint16_t kPe32Plus = 0x20b;
constexpr std::uint32_t kReadableData = 0x40000040;  // INITIALIZED_DATA | MEM_READ
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMaxImage = std::uint64_t{1} << 30;

std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

/// The stub's bytes and where its headers are; every offset is checked once, in parse().
struct Pe {
  std::vector<std::uint8_t> bytes;
  std::size_t coff = 0;
  std::size_t optional = 0;
  std::size_t table = 0;
  std::uint16_t sections = 0;
  std::uint32_t file_alignment = 0;
  std::uint32_t section_alignment = 0;
  std::uint32_t headers_size = 0;

  [[nodiscard]] std::uint32_t u32(std::size_t at) const {
    return load_le<std::uint32_t>(bytes, at);
  }
  void set_u32(std::size_t at, std::uint64_t value) {
    store_le(std::span(bytes), at, static_cast<std::uint32_t>(value));
  }
};

Result<Pe> parse(std::string_view stub) {
  const auto broken = [](std::string_view why) {
    return fail("the EFI stub is no PE32+ program: {}", why);
  };
  Pe pe{.bytes = {stub.begin(), stub.end()}};
  if (stub.size() < kLfanew + 4 || !stub.starts_with("MZ")) return broken("no MZ header");
  const std::uint64_t signature = pe.u32(kLfanew);
  if (signature + 4 + kCoffSize > stub.size()) return broken("its header lies outside of it");
  if (stub.substr(signature, 4) != std::string_view("PE\0\0", 4)) return broken("no PE signature");
  pe.coff = signature + 4;
  pe.optional = pe.coff + kCoffSize;
  pe.sections = load_le<std::uint16_t>(pe.bytes, pe.coff + kSectionCount);
  const auto optional_size = load_le<std::uint16_t>(pe.bytes, pe.coff + kOptionalSize);
  pe.table = pe.optional + optional_size;
  if (optional_size < kOptionalMin || pe.table + pe.sections * kSectionHeader > stub.size()) {
    return broken("its headers are cut");
  }
  if (load_le<std::uint16_t>(pe.bytes, pe.optional) != kPe32Plus) return broken("not 64-bit");
  pe.file_alignment = pe.u32(pe.optional + kFileAlignment);
  pe.section_alignment = pe.u32(pe.optional + kSectionAlignment);
  pe.headers_size = pe.u32(pe.optional + kHeadersSize);
  if (pe.file_alignment == 0 || pe.section_alignment == 0 || pe.file_alignment > kPage ||
      pe.section_alignment > (kPage << 4) || pe.headers_size > stub.size()) {
    return broken("its alignment makes no sense");
  }
  return pe;
}

/// The first page in memory behind every section of the stub.
std::uint64_t memory_end(const Pe& pe) {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < pe.sections; ++i) {
    const std::size_t header = pe.table + i * kSectionHeader;
    const std::uint64_t size = std::max(pe.u32(header + 8), pe.u32(header + 16));
    end = std::max(end, std::uint64_t{pe.u32(header + 12)} + size);
  }
  return round_up(end, std::max<std::uint64_t>(kPage, pe.section_alignment));
}

void add_section(Pe& pe, std::string_view name, std::string_view content, std::uint64_t& address) {
  const std::size_t header = pe.table + pe.sections * kSectionHeader;
  pe.bytes.resize(round_up(pe.bytes.size(), pe.file_alignment));
  const std::uint64_t raw_size = round_up(content.size(), pe.file_alignment);
  const std::uint64_t raw_at = pe.bytes.size();
  std::fill_n(pe.bytes.begin() + static_cast<std::ptrdiff_t>(header), kSectionHeader, 0);
  std::ranges::copy(name, pe.bytes.begin() + static_cast<std::ptrdiff_t>(header));
  pe.set_u32(header + 8, content.size());
  pe.set_u32(header + 12, address);
  pe.set_u32(header + 16, raw_size);
  pe.set_u32(header + 20, raw_at);
  pe.set_u32(header + 36, kReadableData);
  pe.bytes.insert(pe.bytes.end(), content.begin(), content.end());
  pe.bytes.resize(raw_at + raw_size);
  ++pe.sections;
  address =
      round_up(address + content.size(), std::max<std::uint64_t>(kPage, pe.section_alignment));
}

}  // namespace

Result<std::string> make_uki(const UkiParts& parts) {
  PINHOLE_TRY(Pe pe, parse(parts.stub));
  const auto added =
      std::to_array<std::pair<std::string_view, std::string_view>>({{".osrel", parts.os_release},
                                                                    {".cmdline", parts.cmdline},
                                                                    {".initrd", parts.initrd},
                                                                    {".linux", parts.kernel}});
  if (pe.table + (pe.sections + added.size()) * kSectionHeader > pe.headers_size) {
    return fail("the EFI stub has no room for {} more section headers", added.size());
  }
  std::uint64_t address = memory_end(pe);
  std::uint64_t total = address;
  std::uint64_t data = pe.u32(pe.optional + kInitializedSize);
  for (const auto& [name, content] : added) total += content.size() + kPage;
  if (total > kMaxImage) return fail("kernel and initrd are too large for a unified kernel image");
  for (const auto& [name, content] : added) {
    add_section(pe, name, content, address);
    data += round_up(content.size(), pe.file_alignment);
  }
  store_le(std::span(pe.bytes), pe.coff + kSectionCount, pe.sections);
  pe.set_u32(pe.optional + kInitializedSize, data);
  pe.set_u32(pe.optional + kImageSize, address);
  pe.set_u32(pe.optional + kHeadersSize + 4, 0);  // the checksum, which nobody checks for EFI
  return std::string(pe.bytes.begin(), pe.bytes.end());
}

}  // namespace pinhole::image
