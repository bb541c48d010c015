// SPDX-License-Identifier: Apache-2.0
// Disk images: what a file is, whether it is whole, and whether firmware will find something to start on it.
//
// This judges; it decides nothing about how a file is opened. The format that QEMU is told is what the plan or a manifest
// says, and bytes that claim another one are an error. Sources: UEFI 2.10, chapters 3.5, 5 and 13.3; Microsoft's "FAT: General
// Overview" 1.03, "Virtual Hard Disk Format Specification" and [MS-VHDX]; docs/interop/qcow2.txt of QEMU; "Virtual Disk Format
// 5.0" of VMware; ECMA-119.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "artifact/identify.h"
#include "artifact/machine.h"
#include "artifact/source.h"
#include "base/error.h"

namespace pinhole::artifact {

enum class DiskFormat : std::uint8_t {
  raw,  ///< with a GPT, or an MBR; also a GPT that is broken
  qcow2,
  vhd,  ///< fixed or dynamic
  vhdx,
  vmdk,  ///< one file: monolithicSparse or streamOptimized
  iso,   ///< and no GPT that holds
  none,  ///< no disk image at all, or a compressed one: DiskReport::compression
};
/// "raw", "qcow2", …; as `qemu-img -f` wants it, where it is a format of qemu-img ("vpc" for VHD).
std::string_view to_string(DiskFormat format);
std::string_view qemu_name(DiskFormat format);

struct Partition {
  unsigned number = 0;      ///< from 1, as tools count
  std::string type;         ///< GUID in lower case
  std::string name;         ///< printable, at most 36 characters; others are '?'
  std::uint64_t start = 0;  ///< bytes
  std::uint64_t size = 0;   ///< bytes
};
inline constexpr std::string_view kLinuxType = "0fc63daf-8483-4772-8e79-3d69d8477de4";
inline constexpr std::string_view kEspType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// Whether it may hold a system's root: one of the Linux types.
bool is_linux(const Partition& partition);

struct DiskReport {
  DiskFormat format = DiskFormat::none;
  /// Where the bytes are a compressed stream, which may hold a disk image.
  std::optional<Compression> compression = {};
  std::string what;        ///< "a qcow2 disk image", "an HTML page, …"
  std::uint64_t size = 0;  ///< of the file
  std::uint64_t virtual_size =
      0;  ///< of the disk in it, where the format says it and it was read; raw: size
  /// Raw with a GPT whose header holds, or with an MBR that has an EFI system partition; in the order of their numbers.
  std::vector<Partition> partitions = {};
  bool has_gpt = false;                 ///< they are a GPT's
  std::optional<std::size_t> esp = {};  ///< the EFI system partition, an index into `partitions`
  std::string boot_file = {};           ///< "\EFI\BOOT\BOOTX64.EFI", where it is there
  std::string label = {};               ///< of an ISO
  /// Each makes the file useless as what it is; the most telling first. Errors with code, fix and details, from src/failures.
  std::vector<Error> problems = {};
  /// What does not stop a boot: a backup GPT that is not at the end since the file grew.
  std::vector<Error> notes = {};

  [[nodiscard]] bool is_sound() const { return problems.empty(); }
  /// Raw, sound, and with a boot file that is for the machine asked about.
  [[nodiscard]] bool boots_by_efi() const {
    return format == DiskFormat::raw && problems.empty() && !boot_file.empty();
  }
};

/// Any file: a raw disk is judged down to its boot file, for `machine`; of the other formats headers and tables are
/// followed as far as they say where the file must reach. Total: reads at most some tens of MiB of tables, whatever the bytes say.
/// `name` is how errors call the file.
DiskReport judge_disk(const Source& source, const std::string& name, Machine machine = kOurs);

/// The same for one that must be raw: another format is a problem too (`disk_is_not_raw`, …), and a raw disk that a guest wrote
/// another format's header on is still raw.
DiskReport judge_raw_disk(const Source& source, const std::string& name, Machine machine = kOurs);

/// Of a file: opened for reading without following links (`path` has them resolved), which must be a regular file.
Result<DiskReport> inspect_disk(const std::filesystem::path& path, Machine machine = kOurs);

/// A raw disk to boot from by EFI: the first problem as an error, or notes. One to write to is opened for it, its path has all links
/// resolved and none is followed; of one that is only read (an image's) the path may have some.
enum class DiskAccess : std::uint8_t { read_only, read_write };
/// A machine that has started before may have boot entries in its variables, and need no file of the usual name: then that it is
/// missing is a note.
enum class BootEntries : std::uint8_t { none, may_exist };
Result<std::vector<Error>> check_raw_disk(const std::filesystem::path& path, DiskAccess access,
                                          BootEntries entries = BootEntries::none,
                                          Machine machine = kOurs);

/// The overlay of a VM, which nobody has open: a qcow2 image whose tables lie in the file. `fix` where it is none.
Result<void> check_overlay(const std::filesystem::path& path, const std::string& fix);

}  // namespace pinhole::artifact
