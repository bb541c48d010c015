// SPDX-License-Identifier: Apache-2.0
// Small artifacts that hold, made by hand, for tests of this and other modules and for tests/fuzz: each is what its judge accepts
// with as few bytes as possible.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "artifact/source.h"
#include "base/bytes.h"

namespace pinhole::artifact::test {

template <std::unsigned_integral T>
void put(std::string& bytes, std::size_t at, T value) {
  store_le<T>({reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size()}, at, value);
}
template <std::unsigned_integral T>
void put_be(std::string& bytes, std::size_t at, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    bytes[at + i] =
        static_cast<char>(static_cast<std::uint8_t>(value >> (8 * (sizeof(T) - 1 - i))));
}
inline void put(std::string& bytes, std::size_t at, std::string_view text) {
  bytes.replace(at, text.size(), text);
}
inline std::span<const std::uint8_t> view(const std::string& bytes, std::size_t at,
                                          std::size_t size) {
  return std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size())
      .subspan(at, size);
}

inline constexpr std::uint16_t kPeX86 = 0x8664, kPeArm = 0xaa64;

struct Section {
  std::string name;
  std::string content;
};
/// An EFI program with these sections; `at`: where its PE header stands.
inline std::string pe(std::uint16_t machine = kPeX86,
                      const std::vector<Section>& sections = {{".text", std::string(512, 'c')}},
                      std::size_t at = 0x80) {
  constexpr std::size_t kOptional = 160;
  std::string out(1024, '\0');
  put(out, 0, "MZ");
  put<std::uint32_t>(out, 0x3c, static_cast<std::uint32_t>(at));
  put(out, at, std::string_view("PE\0\0", 4));
  put<std::uint16_t>(out, at + 4, machine);
  put<std::uint16_t>(out, at + 6, static_cast<std::uint16_t>(sections.size()));
  put<std::uint16_t>(out, at + 20, kOptional);
  const std::size_t optional = at + 24;
  put<std::uint16_t>(out, optional, 0x20b);
  put<std::uint32_t>(out, optional + 16, 4096);
  put<std::uint32_t>(out, optional + 60, 1024);
  put<std::uint16_t>(out, optional + 68, 10);
  put<std::uint32_t>(out, optional + 108, 6);
  std::size_t header = optional + kOptional;
  for (const Section& section : sections) {
    put(out, header, section.name);
    put<std::uint32_t>(out, header + 16, static_cast<std::uint32_t>(section.content.size()));
    put<std::uint32_t>(out, header + 20, static_cast<std::uint32_t>(out.size()));
    out += section.content;
    header += 40;
  }
  return out;
}

/// Bytes that look compressed: never a page of zeros.
inline std::string noise(std::size_t size) {
  std::string out(size, '\0');
  std::uint32_t state = 12345;
  for (char& c : out) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>((state >> 24) | 1);
  }
  return out;
}

/// A bzImage with an EFI stub, 2 sectors of setup and a payload of `payload` bytes.
inline std::string kernel(std::size_t payload = 16384, std::uint16_t machine = kPeX86) {
  std::string body("\x1f\x8b\x08\x00", 4);
  body += noise(payload - 4);
  std::string out = pe(machine, {{".text", body}}, 0x290);
  out[0x1f1] = 1;
  put<std::uint32_t>(out, 0x1f4, static_cast<std::uint32_t>(payload / 16));
  put<std::uint16_t>(out, 0x1fe, 0xaa55);
  put(out, 0x200, "\xeb\x66HdrS");
  put<std::uint16_t>(out, 0x206, 0x20f);
  out[0x211] = 1;
  put<std::uint16_t>(out, 0x236, 1);
  put<std::uint32_t>(out, 0x248, 0);
  put<std::uint32_t>(out, 0x24c, static_cast<std::uint32_t>(payload));
  put<std::uint32_t>(out, 0x264, 0x190);
  return out;
}

inline std::string arm64_image() {
  std::string out = pe(kPeArm);
  put<std::uint64_t>(out, 16, 65536);
  put(out, 56, std::string_view("ARM\x64", 4));
  return out;
}

inline std::string elf(std::uint16_t machine = 62) {
  std::string out(256, '\1');
  out.replace(0, 64, 64, '\0');
  put(out, 0,
      "\x7f"
      "ELF\x02\x01\x01");
  put<std::uint16_t>(out, 16, 2);
  put<std::uint16_t>(out, 18, machine);
  put<std::uint64_t>(out, 32, 64);
  put<std::uint16_t>(out, 54, 56);
  put<std::uint16_t>(out, 56, 1);
  out.replace(64, 56, 56, '\0');
  put<std::uint32_t>(out, 64, 1);
  put<std::uint64_t>(out, 64 + 8, 128);
  put<std::uint64_t>(out, 64 + 32, 128);
  return out;
}

inline std::string cpio(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string out;
  const auto add = [&](std::string_view name, std::string_view content) {
    out += fmt::format(
        "070701{0:08x}{1:08x}{0:08x}{0:08x}{0:08x}{0:08x}{2:08x}{0:08x}{0:08x}{0:08x}"
        "{0:08x}{3:08x}{0:08x}",
        0, 0100644, content.size(), name.size() + 1);
    out += name;
    out += '\0';
    out.resize((out.size() + 3) / 4 * 4);
    out += content;
    out.resize((out.size() + 3) / 4 * 4);
  };
  for (const auto& [name, content] : files) add(name, content);
  add("TRAILER!!!", "");
  return out;
}

/// FAT12 with sectors and clusters of 512 bytes, which holds \EFI\BOOT\`name` with `content`. 512 KiB.
inline std::string fat(std::string_view name = "BOOTX64 EFI", const std::string& content = pe()) {
  constexpr std::size_t kSectors = 1024, kFatSectors = 4, kRootEntries = 16;
  constexpr std::size_t kFat = 512, kRoot = kFat + kFatSectors * 512,
                        kData = kRoot + kRootEntries * 32;
  std::string out(kSectors * 512, '\0');
  put(out, 0, "\xeb\x3c\x90mkfs.fat");
  put<std::uint16_t>(out, 11, 512);
  out[13] = 1;
  put<std::uint16_t>(out, 14, 1);
  out[16] = 1;
  put<std::uint16_t>(out, 17, kRootEntries);
  put<std::uint16_t>(out, 19, kSectors);
  out[21] = static_cast<char>(0xf8);
  put<std::uint16_t>(out, 22, kFatSectors);
  put<std::uint16_t>(out, 510, 0xaa55);
  const auto set = [&](std::size_t cluster, unsigned value) {
    const std::size_t at = kFat + cluster + cluster / 2;
    auto both = static_cast<unsigned>(static_cast<std::uint8_t>(out[at])) |
                static_cast<unsigned>(static_cast<std::uint8_t>(out[at + 1])) << 8;
    both = cluster % 2 == 0 ? (both & 0xf000) | value : (both & 0x000f) | value << 4;
    out[at] = static_cast<char>(both);
    out[at + 1] = static_cast<char>(both >> 8);
  };
  const auto entry = [&](std::size_t at, std::string_view short_name, std::uint8_t attributes,
                         std::uint16_t cluster, std::size_t size) {
    put(out, at, short_name);
    out[at + 11] = static_cast<char>(attributes);
    put<std::uint16_t>(out, at + 26, cluster);
    put<std::uint32_t>(out, at + 28, static_cast<std::uint32_t>(size));
  };
  set(0, 0xff8);
  set(1, 0xfff);
  entry(kRoot, "EFI        ", 0x10, 2, 0);
  set(2, 0xfff);
  entry(kData, ".          ", 0x10, 2, 0);
  entry(kData + 32, "..         ", 0x10, 0, 0);
  entry(kData + 64, "BOOT       ", 0x10, 3, 0);
  set(3, 0xfff);
  entry(kData + 512, ".          ", 0x10, 3, 0);
  entry(kData + 544, "..         ", 0x10, 2, 0);
  entry(kData + 576, name, 0x20, 4, content.size());
  const std::size_t clusters = (content.size() + 511) / 512;
  for (std::size_t i = 0; i < clusters; ++i)
    set(4 + i, i + 1 == clusters ? 0xfff : static_cast<unsigned>(5 + i));
  put(out, kData + 1024, content);
  return out;
}

inline constexpr std::string_view kEspGuid(
    "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b", 16);
inline constexpr std::string_view kLinuxGuid(
    "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4", 16);

struct DiskPart {
  std::string_view type;
  std::string content;
};
inline constexpr std::size_t kArraySectors = 32, kFirstUsable = 34;

/// Both headers of `disk` with their checksums, from the array at sector 2.
inline void seal_gpt(std::string& disk, std::size_t backup) {
  const std::uint32_t array = crc32(view(disk, 1024, kArraySectors * 512));
  disk.replace((backup - kArraySectors) * 512, kArraySectors * 512, disk, 1024,
               kArraySectors * 512);
  for (const bool main : {true, false}) {
    const std::size_t at = (main ? 1 : backup) * 512;
    disk.replace(at, 512, 512, '\0');
    put(disk, at, std::string_view("EFI PART\0\0\1\0\x5c\0\0\0", 16));
    put<std::uint64_t>(disk, at + 24, main ? 1 : backup);
    put<std::uint64_t>(disk, at + 32, main ? backup : 1);
    put<std::uint64_t>(disk, at + 40, kFirstUsable);
    put<std::uint64_t>(disk, at + 48, backup - kArraySectors - 1);
    put(disk, at + 56, "0123456789abcdef");
    put<std::uint64_t>(disk, at + 72, main ? 2 : backup - kArraySectors);
    put<std::uint32_t>(disk, at + 80, 128);
    put<std::uint32_t>(disk, at + 84, 128);
    put<std::uint32_t>(disk, at + 88, array);
    put<std::uint32_t>(disk, at + 16, crc32(view(disk, at, 92)));
  }
}

/// A raw disk with a GPT and these partitions, one after the other.
inline std::string gpt_disk(const std::vector<DiskPart>& parts) {
  std::string disk(kFirstUsable * 512, '\0');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t entry = 1024 + i * 128, first = disk.size() / 512;
    disk += parts[i].content;
    put(disk, entry, parts[i].type);
    put(disk, entry + 16, fmt::format("partition-{:06}", i));
    put<std::uint64_t>(disk, entry + 32, first);
    put<std::uint64_t>(disk, entry + 40, disk.size() / 512 - 1);
    disk[entry + 56] = 'p';
    disk[entry + 58] = static_cast<char>('a' + i);
  }
  disk.resize(disk.size() + (kArraySectors + 1) * 512);
  disk[446 + 4] = static_cast<char>(0xee);
  put<std::uint32_t>(disk, 446 + 8, 1);
  put<std::uint32_t>(disk, 446 + 12, static_cast<std::uint32_t>(disk.size() / 512 - 1));
  put<std::uint16_t>(disk, 510, 0xaa55);
  seal_gpt(disk, disk.size() / 512 - 1);
  return disk;
}

/// A disk that firmware starts: an EFI system partition with a boot file, and a root that holds something.
inline std::string bootable_disk() {
  return gpt_disk({{kEspGuid, fat()}, {kLinuxGuid, std::string(8192, 'r')}});
}

/// What a guest writes over its boot code: a qcow2 header with the name of a file of the host's.
inline std::string with_qcow2_header(std::string disk, std::string_view backing, char version = 3) {
  put(disk, 0, std::string_view("QFI\xfb\x00\x00\x00", 7));
  disk[7] = version;
  if (backing.empty()) return disk;
  disk[15] = 104;  // where its name stands, big-endian
  disk[19] = static_cast<char>(backing.size());
  disk.replace(104, backing.size(), backing);
  return disk;
}

/// Version 3, clusters of 512 bytes, a disk of 64 KiB with one cluster written.
inline std::string qcow2() {
  std::string out(6 * 512, '\0');
  put(out, 0, "QFI\xfb");
  put_be<std::uint32_t>(out, 4, 3);
  put_be<std::uint32_t>(out, 20, 9);
  put_be<std::uint64_t>(out, 24, 65536);
  put_be<std::uint32_t>(out, 36, 2);
  put_be<std::uint64_t>(out, 40, 512);
  put_be<std::uint64_t>(out, 48, 1024);
  put_be<std::uint32_t>(out, 56, 1);
  put_be<std::uint32_t>(out, 96, 4);
  put_be<std::uint32_t>(out, 100, 104);
  put_be<std::uint64_t>(out, 512, (std::uint64_t{1} << 63) | 3 * 512);
  put_be<std::uint64_t>(out, 3 * 512, (std::uint64_t{1} << 63) | 4 * 512);
  put_be<std::uint64_t>(out, 3 * 512 + 8, (std::uint64_t{1} << 63) | 5 * 512);
  return out;
}

/// The sum of a VHD's footer or header, at `sum_at` in it.
inline void seal_vhd(std::string& bytes, std::size_t at, std::size_t size, std::size_t sum_at) {
  put_be<std::uint32_t>(bytes, at + sum_at, 0);
  std::uint32_t sum = 0;
  for (const std::uint8_t byte : view(bytes, at, size)) sum += byte;
  put_be<std::uint32_t>(bytes, at + sum_at, ~sum);
}

inline std::string vhd_footer(std::uint64_t size, std::uint32_t type) {
  std::string footer(512, '\0');
  put(footer, 0, "conectix");
  put_be<std::uint32_t>(footer, 8, 2);
  put_be<std::uint32_t>(footer, 12, 0x10000);
  put_be<std::uint64_t>(footer, 16, type == 2 ? ~std::uint64_t{0} : 512);
  put_be<std::uint64_t>(footer, 40, size);
  put_be<std::uint64_t>(footer, 48, size);
  put_be<std::uint32_t>(footer, 60, type);
  seal_vhd(footer, 0, 512, 64);
  return footer;
}

/// Dynamic, with blocks of 4 KiB, of which one is written.
inline std::string vhd() {
  const std::string footer = vhd_footer(8192, 3);
  std::string out = footer;
  out.resize(512 + 1024 + 512, '\0');
  put(out, 512, "cxsparse");
  put_be<std::uint64_t>(out, 512 + 8, ~std::uint64_t{0});
  put_be<std::uint64_t>(out, 512 + 16, 1536);
  put_be<std::uint32_t>(out, 512 + 24, 0x10000);
  put_be<std::uint32_t>(out, 512 + 28, 2);
  put_be<std::uint32_t>(out, 512 + 32, 4096);
  seal_vhd(out, 512, 1024, 36);
  put_be<std::uint32_t>(out, 1536, 4);
  put_be<std::uint32_t>(out, 1540, 0xffffffff);
  out += std::string(512 + 4096, 'd');
  return out + footer;
}

/// One file with its directory; a grain of 8 sectors is written.
inline std::string vmdk() {
  std::string out(8 * 512, '\0');
  put(out, 0, "KDMV");
  put<std::uint32_t>(out, 4, 1);
  put<std::uint32_t>(out, 8, 3);
  put<std::uint64_t>(out, 12, 1024);
  put<std::uint64_t>(out, 20, 8);
  put<std::uint64_t>(out, 28, 1);
  put<std::uint64_t>(out, 36, 1);
  put<std::uint32_t>(out, 44, 512);
  put<std::uint64_t>(out, 56, 2);
  put<std::uint64_t>(out, 64, 8);
  put(out, 73, "\n \r\n");
  put(out, 512,
      "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
      "createType=\"monolithicSparse\"\nRW 1024 SPARSE \"x.vmdk\"\n");
  put<std::uint32_t>(out, 1024, 3);
  put<std::uint32_t>(out, 1536, 8);
  return out + std::string(4096, 'd');
}

inline std::string iso() {
  std::string out(20 * 2048, '\0');
  const std::size_t first = 16 * 2048, last = 17 * 2048;
  put(out, first,
      std::string_view("\x01"
                       "CD001\x01",
                       7));
  put(out, first + 40, fmt::format("{:<32}", "LABEL"));
  put<std::uint32_t>(out, first + 80, 20);
  put_be<std::uint32_t>(out, first + 84, 20);
  put<std::uint16_t>(out, first + 128, 2048);
  out[first + 156] = 34;
  put<std::uint32_t>(out, first + 158, 18);
  put<std::uint32_t>(out, first + 166, 2048);
  put(out, last,
      std::string_view("\xff"
                       "CD001\x01",
                       7));
  return out;
}

/// A firmware volume's header over `size` bytes of `type`, with its checksum.
inline void put_volume(std::string& out, std::size_t at, std::uint64_t size,
                       std::string_view type) {
  put(out, at + 16, type);
  put<std::uint64_t>(out, at + 32, size);
  put(out, at + 40, "_FVH");
  put<std::uint16_t>(out, at + 48, 0x48);
  put<std::uint16_t>(out, at + 50, 0);
  out[at + 55] = 2;
  put<std::uint32_t>(out, at + 56, static_cast<std::uint32_t>(size / 4096));
  put<std::uint32_t>(out, at + 60, 4096);
  std::uint16_t sum = 0;
  for (std::size_t i = 0; i < 0x48; i += 2) {
    const auto bytes = view(out, at + i, 2);
    sum = static_cast<std::uint16_t>(sum + bytes[0] + (bytes[1] << 8));
  }
  put<std::uint16_t>(out, at + 50, static_cast<std::uint16_t>(-sum));
}

inline std::string variable_store(std::size_t size = 65536) {
  std::string out(size, '\xff');
  out.replace(0, 0x48 + 28, 0x48 + 28, '\0');
  put_volume(
      out, 0, size,
      std::string_view("\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50", 16));
  put(out, 0x48,
      std::string_view("\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92", 16));
  put<std::uint32_t>(out, 0x48 + 16, static_cast<std::uint32_t>(size / 2));
  out[0x48 + 20] = 0x5a;
  out[0x48 + 21] = static_cast<char>(0xfe);
  return out;
}

inline std::string firmware() {
  constexpr std::string_view kType(
      "\x78\xe5\x8c\x8c\x3d\x8a\x1c\x4f\x99\x35\x89\x61\x85\xc3\x2d\xd3", 16);
  std::string out(16384, '\0');
  put_volume(out, 0, 12288, kType);
  put_volume(out, 12288, 4096, kType);
  put(out, out.size() - 16, "\x90\x90\xe9\x5b");
  return out;
}

}  // namespace pinhole::artifact::test
