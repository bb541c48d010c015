// SPDX-License-Identifier: Apache-2.0
#include "artifact/disk.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "artifact/boot.h"
#include "artifact/containers.h"
#include "artifact/files.h"
#include "artifact/gpt.h"
#include "failures/artifacts.h"
#include "sys/pinned_path.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kHead = 8192;

bool looks_like_gpt(const Source& source) {
  if (source.text(kSector, 8) == "EFI PART" || is_protected(source)) return true;
  const std::uint64_t last = source.size() / kSector;
  return last > 1 && read_gpt(source, last - 1).fault.empty();
}

/// What the file is taken for. A partition table comes first: the bytes before it are boot code, which a guest may have written
/// to look like another format.
DiskFormat format_of(const Source& source) {
  const std::string head = source.text(0, kHead);
  const auto begins = [&](std::string_view magic) { return head.starts_with(magic); };
  const bool has_table = read_gpt(source, 1).fault.empty();
  if (is_fixed_vhd(source)) return DiskFormat::vhd;
  if (has_table || source.text(kSector, 8) == "EFI PART") {
    // An ISO that is a disk too has a table that often does not hold.
    return !has_table && is_iso(source) ? DiskFormat::iso : DiskFormat::raw;
  }
  if (begins("QFI\xfb")) return DiskFormat::qcow2;
  if (begins("KDMV") || begins("COWD") || begins("# Disk DescriptorFile")) return DiskFormat::vmdk;
  if (begins("vhdxfile")) return DiskFormat::vhdx;
  if (begins("conectix")) return DiskFormat::vhd;
  if (is_iso(source)) return DiskFormat::iso;
  if (looks_like_gpt(source) || has_mbr_partitions(source)) return DiskFormat::raw;
  if (source.size() > kSector && source.text(source.size() - kSector, 8) == "conectix")
    return DiskFormat::vhd;
  const std::string_view what = identify(head);
  const bool is_system = what.contains("file system") || what.contains("sectors of 4096");
  return is_system ? DiskFormat::raw : DiskFormat::none;
}

std::string_view name_of(DiskFormat format) {
  switch (format) {
    case DiskFormat::raw:
      return "a raw disk";
    case DiskFormat::qcow2:
      return "a qcow2 disk image";
    case DiskFormat::vhd:
      return "a VHD disk image";
    case DiskFormat::vhdx:
      return "a VHDX disk image";
    case DiskFormat::vmdk:
      return "a VMDK disk image";
    case DiskFormat::iso:
      return "an ISO 9660 image";
    case DiskFormat::none:
      break;
  }
  return "no disk image";
}

void judge_raw(const Source& source, const std::string& name, Machine machine, DiskReport& report) {
  report.virtual_size = source.size();
  if (source.size() % kSector != 0) {
    report.problems.push_back(
        failures::told(failures::kDiskTruncated,
                       {{"file", name},
                        {"size", std::to_string(source.size())},
                        {"part", "its last sector"},
                        {"expected", std::to_string((source.size() / kSector + 1) * kSector)}}));
  }
  const std::string head = source.text(0, kHead);
  if (source.text(kSector, 8) != "EFI PART" && source.text(4096, 8) == "EFI PART") {
    report.problems.push_back(failures::told(failures::kGptLargeSectors, {{"file", name}}));
    return;
  }
  if (!looks_like_gpt(source)) {
    report.partitions = mbr_partitions(source);
    if (std::ranges::find(report.partitions, kEspType, &Partition::type) != report.partitions.end())
      return judge_boot(source, name, machine, report);
    report.partitions.clear();
    const std::string_view what =
        has_mbr_partitions(source) ? "a disk with an MBR" : identify(head);
    report.problems.push_back(
        failures::told(failures::kDiskHasNoGpt, {{"file", name}, {"what", std::string(what)}}));
    return;
  }
  report.has_gpt = true;
  judge_gpt(source, name, report);
  // Whether what the table names is there can only be asked where it is the table's truth.
  if (report.problems.empty()) judge_boot(source, name, machine, report);
}

void judge_as(DiskFormat format, const Source& source, const std::string& name, Machine machine,
              DiskReport& report) {
  const Container container(source, name, report);
  switch (format) {
    case DiskFormat::raw:
      return judge_raw(source, name, machine, report);
    case DiskFormat::qcow2:
      return judge_qcow2(container);
    case DiskFormat::vhd:
      return judge_vhd(container);
    case DiskFormat::vhdx:
      return judge_vhdx(container);
    case DiskFormat::vmdk:
      return judge_vmdk(container);
    case DiskFormat::iso:
      return judge_iso(container);
    case DiskFormat::none:
      report.problems.push_back(failures::told(
          failures::kDiskIsNoDisk,
          {{"file", name}, {"size", std::to_string(source.size())}, {"what", report.what}}));
  }
}

DiskReport begin(const Source& source) {
  DiskReport report{.format = format_of(source), .size = source.size()};
  report.what = report.format == DiskFormat::none ? identify(source) : name_of(report.format);
  if (report.format == DiskFormat::none) report.compression = compression_of(source.text(0, kHead));
  if (report.compression) report.what = identify(source.text(0, kHead));
  return report;
}

}  // namespace

std::string_view to_string(DiskFormat format) {
  static constexpr auto kNames =
      std::to_array<std::string_view>({"raw", "qcow2", "vhd", "vhdx", "vmdk", "iso", "none"});
  return kNames[static_cast<std::size_t>(format)];
}

std::string_view qemu_name(DiskFormat format) {
  return format == DiskFormat::vhd ? "vpc" : to_string(format);
}

bool is_linux(const Partition& partition) {
  static constexpr auto kTypes = std::to_array<std::string_view>(
      {kLinuxType,
       "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",  // root, x86_64 (Discoverable Partitions Specification)
       "b921b045-1df0-41c3-af44-4c6f280d3fae",    // root, aarch64
       "44479540-f297-41b2-9af7-d131d5f0458a",    // root, i386
       "e6d6d379-f507-44c2-a23c-238f2a3df928"});  // LVM
  return std::ranges::find(kTypes, partition.type) != kTypes.end();
}

DiskReport judge_disk(const Source& source, const std::string& name, Machine machine) {
  DiskReport report = begin(source);
  judge_as(report.format, source, name, machine, report);
  return report;
}

DiskReport judge_raw_disk(const Source& source, const std::string& name, Machine machine) {
  DiskReport report = begin(source);
  if (report.format == DiskFormat::raw) {
    judge_raw(source, name, machine, report);
    return report;
  }
  // What another format's bytes say is wrong with it comes second, but for what no conversion can mend.
  judge_as(report.format, source, name, machine, report);
  const bool mendable = std::ranges::none_of(report.problems, [](const Error& error) {
    return error.code == failures::kDiskNeedsAnotherFile.code ||
           error.code == failures::kDiskIsNoDisk.code;
  });
  if (!mendable && !report.compression) return report;
  if (report.compression) report.problems.clear();
  report.problems.insert(
      report.problems.begin(),
      failures::told(
          failures::kDiskIsNotRaw,
          {{"file", name}, {"size", std::to_string(source.size())}, {"what", report.what}}));
  return report;
}

Result<DiskReport> inspect_disk(const std::filesystem::path& path, Machine machine) {
  PINHOLE_TRY(const Fd file, sys::open_pinned_file(path, O_RDONLY));
  return judge_disk(FileSource(file.get()), path.string(), machine);
}

Result<std::vector<Error>> check_raw_disk(const std::filesystem::path& path, DiskAccess access,
                                          BootEntries entries, Machine machine) {
  auto file =
      access == DiskAccess::read_write ? sys::open_pinned(path, O_RDWR) : open_to_judge(path);
  if (!file) {
    Error error = std::move(file).error();
    constexpr std::string_view kWhat = "cannot open ";
    if (error.message.starts_with(kWhat)) error.message.insert(kWhat.size(), "the disk ");
    if (error.fix.empty()) error.fix = "name a raw disk image that you may write: --disk FILE";
    return fail(std::move(error));
  }
  struct stat info{};
  if (::fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(failures::told(failures::kDiskIsNotAFile, {{"file", path.string()}}));
  DiskReport report = judge_raw_disk(FileSource(file->get()), path.string(), machine);
  const auto missing =
      std::ranges::find(report.problems, failures::kBootFileMissing.code, &Error::code);
  if (entries == BootEntries::may_exist && missing != report.problems.end()) {
    report.notes.push_back(std::move(*missing));
    report.problems.erase(missing);
  }
  PINHOLE_TRY_VOID(first_of(std::move(report.problems)));
  return std::move(report.notes);
}

Result<void> check_overlay(const std::filesystem::path& path, const std::string& fix) {
  PINHOLE_TRY(const Fd file, sys::open_pinned_file(path, O_RDONLY));
  const FileSource source(file.get());
  const std::string name = path.string();
  DiskReport report = begin(source);
  if (report.format == DiskFormat::qcow2) {
    judge_qcow2(Container(source, name, report), true);
  } else {
    Container(source, name, report)
        .damaged(fmt::format("it is {}, not a qcow2 disk image", report.what));
  }
  for (Error& error : report.problems) error.fix = fix;
  return first_of(std::move(report.problems));
}

}  // namespace pinhole::artifact
