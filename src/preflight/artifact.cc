// SPDX-License-Identifier: Apache-2.0
#include "preflight/artifact.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/fd.h"
#include "base/strings.h"

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

Result<void> check_raw_disk(const std::filesystem::path& path) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!file) {
    return fail(Error{
        .message = fmt::format("cannot open the disk {}: {}", path.string(), errno_text(errno)),
        .fix = "name a raw disk image that you may write: --disk FILE"});
  }
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(Error{
        .message = fmt::format("cannot use {} as a disk: it is not a regular file", path.string()),
        .fix = "name a raw disk image: --disk FILE"});
  }
  std::array<char, 1024> head{};
  const ssize_t n = ::pread(file.get(), head.data(), head.size(), 0);
  const std::string_view what = identify({head.data(), static_cast<std::size_t>(n < 0 ? 0 : n)});
  constexpr off_t kSector = 512;
  if (what != "a GPT disk" || info.st_size % kSector != 0) {
    const bool other_format = what.contains("disk image");
    return fail(Error{
        .message = fmt::format(
            "cannot boot the disk {}: it has {} bytes and is {}, not a raw disk with a GPT",
            path.string(), info.st_size, what),
        .fix = other_format ? fmt::format("qemu-img convert -O raw {0} {0}.raw", path.string())
                            : "fetch or build the disk image again, and check its checksum"});
  }
  return {};
}

}  // namespace pinhole::preflight
