// SPDX-License-Identifier: Apache-2.0
#include "artifact/identify.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/strings.h"

namespace pinhole::artifact {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view name;
};

// The order matters where two can hold: a kernel with an EFI stub is an EFI program too.
constexpr Magic kMagics[] = {
    {0, "QFI\xfb"sv, "a qcow2 disk image"},
    {0, "KDMV"sv, "a VMDK disk image"},
    {0, "COWD"sv, "a VMDK disk image of an old kind"},
    {0, "# Disk DescriptorFile"sv, "a VMDK descriptor, which names the files that hold the disk"},
    {0, "vhdxfile"sv, "a VHDX disk image"},
    {0, "conectix"sv, "a VHD disk image"},
    {64, "\x7f\x10\xda\xbe"sv, "a VirtualBox disk image (VDI)"},
    {0, "070701"sv, "a cpio archive"},
    {0, "070702"sv, "a cpio archive"},
    {0, "070707"sv, "a cpio archive of the old kind"},
    {0, "PK\x03\x04"sv, "a zip archive"},
    {257, "ustar"sv, "a tar archive"},
    {0, "!<arch>\ndebian"sv, "a Debian package"},
    {0, "\xed\xab\xee\xdb"sv, "an RPM package"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7-Zip archive"},
    {0,
     "\x7f"
     "ELF"sv,
     "an ELF program"},
    {0, "version https://git-lfs"sv, "a Git LFS pointer, not the file itself (git lfs pull)"},
    {0, "<?xml"sv, "an XML document, most likely a saved error page"},
    {0, "HTTP/1."sv, "an HTTP response with its header, not its content"},
    {0, "%PDF-"sv, "a PDF document"},
    {0, "-----BEGIN PGP SIGNATURE"sv, "a signature, not the file that it is for"},
    {512, "EFI PART"sv, "a GPT disk"},
    {4096, "EFI PART"sv, "a GPT disk with sectors of 4096 bytes"},
    {0x202, "HdrS"sv, "a Linux kernel (bzImage)"},
    {4, "zimg"sv, "a Linux kernel (EFI zboot)"},
    {56, "ARM\x64"sv, "a Linux kernel (arm64 Image)"},
    {40, "_FVH"sv, "a UEFI firmware volume"},
    {0, "MZ"sv, "an EFI or Windows program"},
    {1080, "\x53\xef"sv, "an ext file system without a partition table"},
    {0, "XFSB"sv, "an XFS file system without a partition table"},
    {0, "hsqs"sv, "a squashfs file system"},
};

bool has(std::string_view head, const Magic& magic) {
  return head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes);
}

bool is_html(std::string_view head) {
  constexpr std::size_t kLookedAt = 512;
  std::string_view text = head.substr(0, kLookedAt);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::string start = to_lower(trim(text));
  return start.starts_with("<!doctype html") || start.starts_with("<html") ||
         start.starts_with("<head") || (start.starts_with("<!--") && start.contains("<html"));
}

bool is_json(std::string_view head) {
  const std::string_view text = trim(head);
  return text.starts_with("{\"") || text.starts_with("{\n") || text.starts_with("{\r\n") ||
         text.starts_with("[{\"");
}

bool is_zeros(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

bool is_text(std::string_view head) {
  return std::ranges::all_of(head, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == '\x1b';
  });
}

std::string_view compressed_name(Compression compression) {
  switch (compression) {
    case Compression::gzip:
      return "gzip-compressed data";
    case Compression::xz:
      return "xz-compressed data";
    case Compression::zstd:
      return "zstd-compressed data";
    case Compression::bzip2:
      return "bzip2-compressed data";
    case Compression::lz4:
      return "lz4-compressed data";
    case Compression::lzma:
      return "lzma-compressed data";
  }
  return "compressed data";
}

}  // namespace

std::string_view to_string(Compression compression) {
  const std::string_view name = compressed_name(compression);
  return name.substr(0, name.find('-'));
}

std::optional<Compression> compression_of(std::string_view head) {
  if (head.starts_with("\x1f\x8b"sv)) return Compression::gzip;
  if (head.starts_with("\xfd"
                       "7zXZ\0"sv))
    return Compression::xz;
  if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
  if (head.starts_with("BZh"sv) && head.size() > 3 && head[3] >= '1' && head[3] <= '9')
    return Compression::bzip2;
  if (head.starts_with("\x04\x22\x4d\x18"sv) || head.starts_with("\x02\x21\x4c\x18"sv))
    return Compression::lz4;
  // No magic of its own: properties 5d, a dictionary of a power of two, then a size of which the upper bytes are zeros or all
  // ones where it is not known.
  constexpr std::size_t kLzmaHeader = 13;
  if (head.size() >= kLzmaHeader && head.starts_with("\x5d\x00\x00"sv) &&
      (head.substr(5, 8) == "\xff\xff\xff\xff\xff\xff\xff\xff"sv ||
       head.substr(10, 3) == "\0\0\0"sv))
    return Compression::lzma;
  return std::nullopt;
}

std::string_view identify(std::string_view head) {
  if (head.empty()) return "an empty file";
  if (is_html(head)) return "an HTML page, most likely a saved error page";
  if (const auto compression = compression_of(head)) return compressed_name(*compression);
  for (const Magic& magic : kMagics) {
    if (has(head, magic)) return magic.name;
  }
  if (is_json(head)) return "a JSON document, most likely a saved error answer";
  if (head.size() >= 512 && head.substr(510, 2) == "\x55\xaa") return "a disk with an MBR";
  if (is_zeros(head)) return "nothing but zeros at its beginning";
  if (is_text(head.substr(0, 256))) return "a text file";
  return "unknown data";
}

std::string identify(const Source& source) {
  constexpr std::size_t kHead = 8192;
  constexpr std::size_t kFooter = 512;
  constexpr std::uint64_t kIso = 0x8001;
  const std::string head = source.text(0, kHead);
  if (head.empty()) return "an empty file";
  if (source.next_data(0) >= source.size()) return "one hole: nothing was ever written to it";
  const std::string_view by_head = identify(head);
  const bool plain = by_head.starts_with("nothing but zeros") || by_head == "unknown data" ||
                     by_head == "a disk with an MBR";
  if (plain && source.text(kIso, 5) == "CD001") return "an ISO 9660 image";
  // A fixed VHD is a raw disk with this behind it.
  if (source.size() > kFooter && source.text(source.size() - kFooter, 8) == "conectix")
    return "a VHD disk image";
  return std::string(by_head);
}

std::string first_bytes(std::string_view head) {
  constexpr std::size_t kShown = 8;
  std::string hex;
  std::string text;
  for (const char c : head.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    hex += fmt::format("{}{:02x}", hex.empty() ? "" : " ", byte);
    text += byte >= 0x20 && byte < 0x7f ? c : '.';
  }
  return fmt::format("{} (\"{}\")", hex, text);
}

}  // namespace pinhole::artifact
