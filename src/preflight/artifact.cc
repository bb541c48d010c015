// SPDX-License-Identifier: Apache-2.0
#include "preflight/artifact.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/strings.h"
#include "sys/pinned_path.h"

namespace pinhole::preflight {
namespace {

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view name;
};

using namespace std::string_view_literals;

constexpr Magic kMagics[] = {
    {0, "QFI\xfb"sv, "a qcow2 disk image"},
    {0, "KDMV"sv, "a VMDK disk image"},
    {0, "# Disk DescriptorFile"sv, "a VMDK descriptor"},
    {0, "vhdxfile"sv, "a VHDX disk image"},
    {0, "conectix"sv, "a VHD disk image"},
    {0, "\x1f\x8b"sv, "gzip-compressed data"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "xz-compressed data"},
    {0, "\x28\xb5\x2f\xfd"sv, "zstd-compressed data"},
    {0, "BZh"sv, "bzip2-compressed data"},
    {0, "PK\x03\x04"sv, "a zip archive"},
    {0,
     "\x7f"
     "ELF"sv,
     "an ELF program"},
    {0, "version https://git-lfs"sv, "a Git LFS pointer, not the file itself (git lfs pull)"},
    {0, "<?xml"sv, "an XML document, most likely a saved error page"},
    {512, "EFI PART"sv, "a GPT disk"},
    {0x202, "HdrS"sv, "a Linux kernel (bzImage)"},
};

bool is_html(std::string_view head) {
  const std::string start = to_lower(trim(head.substr(0, 256)));
  return start.starts_with("<!doctype html") || start.starts_with("<html");
}

}  // namespace

std::string_view identify(std::string_view head) {
  if (head.empty()) return "an empty file";
  if (is_html(head)) return "an HTML page, most likely a saved error page";
  for (const Magic& magic : kMagics) {
    if (head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes))
      return magic.name;
  }
  if (head.starts_with("{\"") || head.starts_with("{\n"))
    return "a JSON document, most likely a saved error answer";
  if (head.size() >= 512 && head.substr(510, 2) == "\x55\xaa") return "a disk with an MBR";
  return "unknown data";
}

namespace {

constexpr std::size_t kSector = 512;
constexpr std::size_t kHead = 2 * kSector;

/// CRC-32 as GPT, zlib and Ethernet use it (UEFI 2.10, 5.3.2).
std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~std::uint32_t{0};
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

std::uint32_t u32_at(std::string_view bytes, std::size_t offset) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return load_le<std::uint32_t>({data, bytes.size()}, offset);
}

/// docs/interop/qcow2.txt of QEMU: big-endian version at 4, backing file's offset at 8, and from version 3 on the features
/// at 72, of which bit 2 means an external data file.
bool is_qcow2_of_its_own(std::string_view head) {
  constexpr std::size_t kVersion = 7, kBacking = 8, kFeatures = 79;
  constexpr std::uint8_t kExternalData = 4;
  if (head.size() < kHead) return false;
  const bool backed = head.substr(kBacking, 8).find_first_not_of('\0') != std::string_view::npos;
  return !backed &&
         (head[kVersion] == 2 || (static_cast<std::uint8_t>(head[kFeatures]) & kExternalData) == 0);
}

/// Converting is advice only where no harm comes of it: a tool that believes a disk's bytes reads what they name, and a
/// guest may have written them.
std::string fix_for(std::string_view head, std::string_view what, const std::string& path) {
  const bool was_raw = head.size() >= kHead && head.substr(kSector).starts_with("EFI PART");
  if (what == "a qcow2 disk image" && is_qcow2_of_its_own(head) && !was_raw)
    return fmt::format("qemu-img convert -f qcow2 -O raw {0} {0}.raw", path);
  return "fetch or build the disk image again, and check its checksum";
}

}  // namespace

bool has_valid_gpt(std::string_view head) {
  // UEFI 2.10, table 5.5: signature, revision, header size, CRC of the header with this field as zero, …, own LBA.
  constexpr std::size_t kSizeAt = 12, kCrcAt = 16, kOwnLbaAt = 24, kSmallest = 92;
  if (head.size() < kHead || !head.substr(kSector).starts_with("EFI PART")) return false;
  const std::string_view sector = head.substr(kSector, kSector);
  const std::size_t size = u32_at(sector, kSizeAt);
  if (size < kSmallest || size > kSector) return false;
  std::string header(sector.substr(0, size));
  header.replace(kCrcAt, 4, 4, '\0');
  return crc32(header) == u32_at(sector, kCrcAt) && u32_at(sector, kOwnLbaAt) == 1;
}

Result<void> check_raw_disk(const std::filesystem::path& path) {
  auto file = sys::open_pinned(path, O_RDWR);
  if (!file) {
    Error error = std::move(file).error();
    constexpr std::string_view kWhat = "cannot open ";
    if (error.message.starts_with(kWhat)) error.message.insert(kWhat.size(), "the disk ");
    if (error.fix.empty()) error.fix = "name a raw disk image that you may write: --disk FILE";
    return fail(std::move(error));
  }
  struct stat info{};
  if (::fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(Error{
        .message = fmt::format("cannot use {} as a disk: it is not a regular file", path.string()),
        .fix = "name a raw disk image: --disk FILE"});
  }
  std::array<char, kHead> bytes{};
  const ssize_t n = ::pread(file->get(), bytes.data(), bytes.size(), 0);
  const std::string_view head(bytes.data(), static_cast<std::size_t>(n < 0 ? 0 : n));
  const bool whole_sectors = info.st_size % static_cast<off_t>(kSector) == 0;
  const std::string_view what = identify(head);
  if (whole_sectors && (has_valid_gpt(head) || what == "a GPT disk")) return {};
  return fail(
      Error{.message = fmt::format(
                "cannot boot the disk {}: it has {} bytes and is {}, not a raw disk with a GPT",
                path.string(), info.st_size, what),
            .fix = fix_for(head, what, path.string())});
}

}  // namespace pinhole::preflight
