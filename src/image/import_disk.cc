// SPDX-License-Identifier: Apache-2.0
#include "image/import_disk.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <optional>
#include <utility>

#include "base/strings.h"
#include "failures/import.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using Access = sys::Visible::Access;

constexpr std::chrono::minutes kConversionLimit{60};
// A partition for the boot loader, or for a swap, holds no system.
constexpr std::uint64_t kLeastRoot = std::uint64_t{64} << 20;
constexpr std::uint64_t kSectorBytes = 512;
// The second GPT: 32 sectors of entries and one of header (UEFI 2.10, 5.3), rounded up to a MiB.
constexpr std::uint64_t kAtTheEnd = std::uint64_t{1} << 20;

/// "    (12.34/100%)" as qemu-img -p writes it.
std::optional<double> percent(std::string_view line) {
  line = trim(line);
  if (!line.starts_with('(')) return std::nullopt;
  const auto whole = parse_u64(line.substr(1, line.find_first_of("./", 1) - 1));
  if (!whole || *whole > 100) return std::nullopt;
  return static_cast<double>(*whole) / 100;
}

/// A VHD has its size twice, and qemu-img takes the rounded one of cylinders, heads and sectors unless it knows the maker, which
/// cuts the end off, the second GPT with it.
std::vector<std::string> input_words(const fs::path& file, artifact::DiskFormat format) {
  if (format != artifact::DiskFormat::vhd)
    return {"-f", std::string(artifact::qemu_name(format)), file.string()};
  std::string name;
  for (const char c : file.string()) name += c == ',' ? std::string(",,") : std::string(1, c);
  return {"--image-opts",
          fmt::format("driver={},force_size_calc=current_size,file.driver=file,file.filename={}",
                      artifact::qemu_name(format), name)};
}

Fd open_disk(const fs::path& path) {
  return Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
}

/// `size` bytes from one open file to another, holes left out. False: errno says why.
bool copy_range(int from, std::uint64_t from_at, int to, std::uint64_t to_at, std::uint64_t size) {
  std::uint64_t done = 0;
  while (done < size) {
    const off_t data = ::lseek(from, static_cast<off_t>(from_at + done), SEEK_DATA);
    if (data < 0) return errno == ENXIO;  // nothing but a hole
    const off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return false;
    std::uint64_t at = static_cast<std::uint64_t>(data) - from_at;
    const std::uint64_t end = std::min(static_cast<std::uint64_t>(hole) - from_at, size);
    if (at >= size) return true;
    while (at < end) {
      auto in = static_cast<off_t>(from_at + at);
      auto out = static_cast<off_t>(to_at + at);
      const ssize_t n = ::copy_file_range(from, &in, to, &out, end - at, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      at += static_cast<std::uint64_t>(n);
    }
    done = at;
  }
  return true;
}

Result<void> set_size(const fs::path& path, std::uint64_t size) {
  const Fd file = open_disk(path);
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0)
    return fail("cannot make the disk larger: {}", errno_text(errno));
  return {};
}

Step disk_step(std::string doing, std::string program, std::vector<std::string> args,
               const fs::path& file, Access access) {
  return {.doing = std::move(doing),
          .program = std::move(program),
          .args = std::move(args),
          .sees = {{.path = file, .access = access}},
          .limit = std::chrono::minutes(15)};
}

/// What a partition is called by beside its number.
struct Identity {
  std::string guid;
  std::string attributes;
};
Result<Identity> identity_of(const fs::path& disk, unsigned number, const StepContext& context) {
  Identity found;
  const StepContext reading{
      .cancel_fd = context.cancel_fd, .on_line = [&](std::string_view line) {
        const auto value = [&](std::string_view key) {
          return line.starts_with(key) ? std::string(trim(line.substr(key.size()))) : std::string();
        };
        if (auto guid = value("Partition unique GUID:"); !guid.empty()) found.guid = guid;
        if (auto bits = value("Attribute flags:"); !bits.empty()) found.attributes = bits;
      }};
  PINHOLE_TRY_VOID(
      run_step(disk_step("read the partition table", "sgdisk",
                         {fmt::format("--info={}", number), disk.string()}, disk, Access::read),
               reading));
  constexpr std::string_view kHex = "0123456789abcdefABCDEF-";
  if (found.guid.size() != 36 || found.attributes.size() != 16 ||
      (found.guid + found.attributes).find_first_not_of(kHex) != std::string::npos)
    return fail("cannot read the partition table: sgdisk says nothing of partition {}", number);
  return found;
}

/// e2fsck(8) with status 4 says that errors remain, which is what `import_root_damaged` stands for; other trouble of its (no room, no
/// memory, a feature that it does not know) is no damage of the file's, and has its own words.
Result<void> e2fsck(const std::string& flags, unsigned best, const fs::path& file,
                    std::uint64_t offset, const StepContext& context) {
  constexpr std::string_view kEnded = "e2fsck ended with status ";
  constexpr std::uint64_t kErrorsRemain = 4, kCouldNotCheck = 8;
  Step step = disk_step(
      "check the root file system", "/bin/sh",
      {"-c",
       "e2fsck \"$1\" \"$2\"; s=$?; echo \"e2fsck ended with status $s\"; "
       "[ $s -le \"$3\" ]",
       "sh", flags, fmt::format("{}?offset={}", file.string(), offset), std::to_string(best)},
      file, Access::write);
  for (const char* folder : {"/bin", "/usr/bin", "/usr/sbin", "/sbin"})
    step.sees.push_back({.path = folder, .access = Access::execute, .optional = true});
  std::uint64_t status = 0;
  const StepContext reading{.cancel_fd = context.cancel_fd,
                            .on_line =
                                [&](std::string_view line) {
                                  if (line.starts_with(kEnded))
                                    status = parse_u64(line.substr(kEnded.size())).value_or(0);
                                },
                            .watch = context.watch};
  auto done = run_step(step, reading);
  if (done || !done.error().code.empty()) return done;
  Error error = std::move(done).error();
  if ((status & kErrorsRemain) != 0 && (status & kCouldNotCheck) == 0)
    error.code = failures::kImportRootDamaged.code;
  return fail(std::move(error));
}

/// resize2fs cuts a file behind the file system that is in it: it gets one with nothing else in it.
Result<void> grow_ext4(const Staging& staging, const artifact::Partition& before,
                       std::uint64_t size, const StepContext& context) {
  const fs::path alone = staging.temporary() / "root.img";
  const fs::path disk_path = staging.out() / "disk.raw";
  const Fd disk = open_disk(disk_path);
  const Fd root(::open(alone.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!disk || !root || ::ftruncate(root.get(), static_cast<off_t>(before.size)) != 0 ||
      !copy_range(disk.get(), before.start, root.get(), 0, before.size))
    return fail("cannot copy the root file system: {}", errno_text(errno));
  Step step =
      disk_step("grow the root file system", "resize2fs",
                {alone.string(), fmt::format("{}s", size / kSectorBytes)}, alone, Access::write);
  step.sees_mounts = true;
  PINHOLE_TRY_VOID(run_step(step, context));
  // What it no longer uses is to be zeros.
  if (::fallocate(disk.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(before.start), static_cast<off_t>(before.size)) != 0 ||
      !copy_range(root.get(), 0, disk.get(), before.start, size))
    return fail("cannot put the root file system back: {}", errno_text(errno));
  std::error_code error;
  fs::remove(alone, error);
  return {};
}

}  // namespace

Result<void> convert_to_raw(const ImportSource& source, artifact::DiskFormat format,
                            const fs::path& to, const StepContext& context,
                            const std::function<void(double)>& progress) {
  std::vector<std::string> args = {"convert", "-p", "-O", "raw"};
  std::ranges::copy(input_words(source.path(), format), std::back_inserter(args));
  args.push_back(to.string());
  const Step step{
      .doing = "convert the image",
      .program = "qemu-img",
      .args = std::move(args),
      .sees = {{.path = source.path()}, {.path = to.parent_path(), .access = Access::write}},
      .limit = kConversionLimit};
  return run_step(step, {.cancel_fd = context.cancel_fd,
                         .on_line =
                             [&](std::string_view line) {
                               if (const auto done = percent(line)) progress(*done);
                             },
                         .watch = context.watch});
}

std::string_view to_string(RootKind kind) {
  switch (kind) {
    case RootKind::ext4:
      return "ext4";
    case RootKind::xfs:
      return "xfs";
    case RootKind::btrfs:
      return "btrfs";
    case RootKind::lvm:
      return "LVM";
    case RootKind::luks:
      return "LUKS";
    case RootKind::unknown:
      break;
  }
  return "unknown";
}

RootKind root_kind(const artifact::Source& partition) {
  // ext4: s_magic, 56 bytes into the superblock at 1024; btrfs: 64 bytes into that at 64 KiB; LVM2: the label, in one of the
  // first four sectors.
  if (partition.text(1024 + 56, 2) == "\x53\xef") return RootKind::ext4;
  if (partition.text(0, 4) == "XFSB") return RootKind::xfs;
  if (partition.text((64 << 10) + 64, 8) == "_BHRfS_M") return RootKind::btrfs;
  if (partition.text(0, 6) == "LUKS\xba\xbe") return RootKind::luks;
  for (std::uint64_t sector = 0; sector < 4; ++sector)
    if (partition.text(sector * kSectorBytes, 8) == "LABELONE") return RootKind::lvm;
  return RootKind::unknown;
}

std::vector<RootPartition> root_candidates(const artifact::Source& disk,
                                           const artifact::DiskReport& report) {
  std::vector<RootPartition> found;
  std::uint64_t last_start = 0;
  for (const artifact::Partition& partition : report.partitions)
    last_start = std::max(last_start, partition.start);
  for (const artifact::Partition& partition : report.partitions) {
    if (partition.type == artifact::kEspType || partition.size < kLeastRoot) continue;
    const artifact::PartSource content(disk, partition.start, partition.size);
    const RootKind kind = root_kind(content);
    if (kind == RootKind::unknown) continue;
    found.push_back({.partition = partition, .kind = kind, .last = partition.start == last_start});
  }
  std::ranges::sort(found, [](const RootPartition& a, const RootPartition& b) {
    return std::pair(b.partition.size, a.partition.number) <
           std::pair(a.partition.size, b.partition.number);
  });
  return found;
}

bool can_grow(const artifact::Partition& root, std::uint64_t size) {
  // sgdisk cuts a name at its colons, and of one beyond ASCII we know a part alone.
  const bool name_is_kept = root.name.find_first_of(":?") == std::string::npos;
  return name_is_kept && size > kAtTheEnd && size - kAtTheEnd > root.start + root.size;
}

Result<artifact::Partition> grow_root(const Staging& staging, const artifact::Partition& root,
                                      std::uint64_t size, const StepContext& context) {
  const fs::path disk = staging.out() / "disk.raw";
  PINHOLE_TRY(const Identity identity, identity_of(disk, root.number, context));
  PINHOLE_TRY_VOID(grow_disk(staging, size, context));
  artifact::Partition grown = root;
  grown.size = size - kAtTheEnd - root.start;
  PINHOLE_TRY_VOID(grow_ext4(staging, root, grown.size, context));
  const unsigned n = root.number;
  std::vector<std::string> args = {fmt::format("--delete={}", n),
                                   "--set-alignment=1",
                                   fmt::format("--new={}:{}:{}", n, grown.start / kSectorBytes,
                                               (grown.start + grown.size) / kSectorBytes - 1),
                                   fmt::format("--typecode={}:{}", n, root.type),
                                   fmt::format("--partition-guid={}:{}", n, identity.guid),
                                   fmt::format("--attributes={}:=:{}", n, identity.attributes)};
  if (!root.name.empty()) args.push_back(fmt::format("--change-name={}:{}", n, root.name));
  args.push_back(disk.string());
  PINHOLE_TRY_VOID(
      run_step(disk_step("grow the root partition", "sgdisk", std::move(args), disk, Access::write),
               context));
  return grown;
}

Result<void> grow_disk(const Staging& staging, std::uint64_t size, const StepContext& context) {
  const fs::path disk = staging.out() / "disk.raw";
  PINHOLE_TRY_VOID(set_size(disk, size));
  return run_step(disk_step("move the second partition table", "sgdisk",
                            {"--move-second-header", disk.string()}, disk, Access::write),
                  context);
}

Result<void> mend_ext4(const fs::path& file, std::uint64_t offset, const StepContext& context) {
  constexpr unsigned kMended = 1;
  return e2fsck("-fy", kMended, file, offset, context);
}

Result<void> check_ext4(const fs::path& file, std::uint64_t offset, const StepContext& context) {
  return e2fsck("-fn", 0, file, offset, context);
}

}  // namespace pinhole::image
