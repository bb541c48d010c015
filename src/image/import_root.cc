// SPDX-License-Identifier: Apache-2.0
#include "image/import_root.h"

#include <algorithm>
#include <optional>

#include "artifact/kernel.h"
#include "base/strings.h"
#include "failures/import.h"
#include "image/import_disk.h"
#include "image/import_guest.h"
#include "image/import_layout.h"
#include "image/import_source.h"
#include "image/iso.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using failures::told;
using Access = sys::Visible::Access;

constexpr std::uint64_t kMaxText = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxKernel = std::uint64_t{128} << 20;
constexpr std::uint64_t kMaxBootFile = std::uint64_t{256} << 20;
constexpr std::size_t kMaxTools = std::size_t{96} << 20;
constexpr const char* kToolsLabel = "PINHOLE";

fs::path disk_of(const Staging& staging) { return staging.out() / "disk.raw"; }

/// debugfs's own folder, with nothing else in it.
Result<GuestFiles> guest_files(const Staging& staging, std::uint64_t offset) {
  const fs::path work = staging.temporary() / "guest";
  std::error_code error;
  fs::create_directories(work, error);
  if (error) return fail("cannot create {}: {}", work.string(), error.message());
  return GuestFiles(disk_of(staging), offset, work);
}

Result<GuestFacts> read_facts(const GuestFiles& files) {
  GuestFacts facts;
  PINHOLE_TRY(facts.entries, files.look(paths_to_look_at()));
  for (const std::string& path : texts_to_read()) {
    PINHOLE_TRY(facts.texts[path], files.read(path, kMaxText));
  }
  return facts;
}

struct FoundRoot {
  RootPartition root;
  std::optional<GuestFacts> facts;  ///< of an ext4 one
};

std::string found_text(const std::vector<RootPartition>& candidates) {
  if (candidates.empty()) return "no file system of a Linux was recognised";
  std::string text;
  for (const RootPartition& each : candidates) {
    text += fmt::format("{}{} on partition {}", text.empty() ? "" : ", ", to_string(each.kind),
                        each.partition.number);
  }
  return text;
}

/// Trouble with the file system: what e2fsck calls damage, a host without room, or what it says itself.
Error trouble(const Staging& staging, const RootOptions& options, Error why) {
  if (why.code == failures::kImportRootDamaged.code) {
    Error error = told(failures::kImportRootDamaged, {{"file", options.file}});
    error.details = std::move(why.details);
    return error;
  }
  if (why.code == failures::kImportRootTooNew.code) {
    return told(failures::kImportRootTooNew,
                {{"file", options.file}, {"what", std::move(why.message)}});
  }
  if (!why.code.empty()) return why;  // cancelled
  const auto free = sys::free_space(staging.folder);
  if (free && *free < kSpaceLeft) return no_space(options.file, staging.folder, *free);
  return why;
}

Result<FoundRoot> find_root(const Staging& staging, const RootOptions& options,
                            const StepContext& context) {
  PINHOLE_TRY(const ImportSource disk, ImportSource::open(disk_of(staging)));
  const auto candidates = root_candidates(artifact::FileSource(disk.fd()), options.report);
  for (const RootPartition& each : candidates) {
    if (each.kind != RootKind::ext4) continue;
    PINHOLE_TRY(const GuestFiles files, guest_files(staging, each.partition.start));
    auto folders = files.look({"/etc", "/usr"});
    if (!folders) return fail(trouble(staging, options, std::move(folders).error()));
    if (!folders->at("/etc").exists() || !folders->at("/usr").exists()) continue;
    // What its journal holds belongs to what is looked at.
    auto mended = mend_ext4(disk_of(staging), each.partition.start, context);
    if (!mended) return fail(trouble(staging, options, std::move(mended).error()));
    PINHOLE_TRY(GuestFacts facts, read_facts(files));
    return FoundRoot{.root = each, .facts = std::move(facts)};
  }
  for (const RootPartition& each : candidates) {
    if (each.kind == RootKind::luks)
      return fail(told(failures::kImportEncrypted, {{"file", options.file}}));
    if (each.kind != RootKind::ext4) return FoundRoot{.root = each, .facts = std::nullopt};
  }
  return fail(
      told(failures::kImportNoRoot, {{"file", options.file}, {"found", found_text(candidates)}}));
}

/// The newest kernel in /boot, for trying KVM with; an image without one is none the worse.
Result<bool> take_kernel(const GuestFiles& files, const Staging& staging) {
  PINHOLE_TRY(std::vector<std::string> names, files.names("/boot"));
  std::erase_if(names, [](const std::string& name) { return !name.starts_with("vmlinuz"); });
  std::ranges::sort(names);
  if (names.empty()) return false;
  PINHOLE_TRY(const std::string kernel, files.read("/boot/" + names.back(), kMaxKernel));
  // One that a start would complain of is left out: nothing but a probe needs it.
  const artifact::MemorySource bytes(kernel);
  if (!artifact::judge_kernel(bytes, names.back()).problems.empty()) return false;
  PINHOLE_TRY_VOID(sys::write_file_atomic(staging.out() / "vmlinuz", kernel));
  return true;
}

/// The program that firmware starts, read out of the ESP by mtools.
Result<std::string> read_boot_file(const Staging& staging, const artifact::DiskReport& report,
                                   const StepContext& context) {
  std::string path = report.boot_file;
  std::ranges::replace(path, '\\', '/');
  const std::uint64_t offset = report.partitions[report.esp.value_or(0)].start;
  const fs::path copy = staging.temporary() / "boot.efi";
  PINHOLE_TRY_VOID(
      run_step({.doing = "read the boot loader",
                .program = "mcopy",
                .args = {"-n", "-i", fmt::format("{}@@{}", disk_of(staging).string(), offset),
                         "::" + path, copy.string()},
                .sees = {{.path = disk_of(staging)},
                         {.path = staging.temporary(), .access = Access::write}}},
               context));
  auto content = sys::read_file(copy, kMaxBootFile);
  std::error_code error;
  fs::remove(copy, error);
  return content;
}

Result<void> prepare_ext4(const Staging& staging, const RootOptions& options, FoundRoot& found,
                          RootResult& result, const StepContext& context) {
  const RootPartition& root = found.root;
  if (init_kind(*found.facts) == InitKind::none) {
    return fail(told(failures::kImportNoInit,
                     {{"file", options.file}, {"layout", layout_text(*found.facts)}}));
  }
  const bool larger = options.size > options.report.size;
  const bool grows = larger && root.last && can_grow(root.partition, options.size);
  if (larger) options.growing();
  if (grows) {
    auto grown = grow_root(staging, root.partition, options.size, context);
    if (!grown) return fail(trouble(staging, options, std::move(grown).error()));
  } else if (larger) {
    PINHOLE_TRY_VOID(grow_disk(staging, options.size, context));
  }
  options.preparing();
  PINHOLE_TRY(const GuestFiles files, guest_files(staging, root.partition.start));
  Preparation plan = prepare_guest(*found.facts, std::string(options.agent), grows || !larger);
  if (result.imported.boot.contains("GRUB") && !has_grub_configuration(*found.facts))
    plan.shortfall.emplace_back(
        "GRUB's configuration is not in its root file system: it may wait for a key, and the "
        "kernel may not speak on the serial port");
  PINHOLE_TRY_VOID(files.apply(plan.changes));
  if (auto checked = check_ext4(disk_of(staging), root.partition.start, context); !checked)
    return fail(trouble(staging, options, std::move(checked).error()));
  if (grows)
    plan.prepared.push_back(
        fmt::format("the root file system grown with its disk, to {}", format_size(options.size)));
  if (larger && !grows)
    plan.prepared.push_back(fmt::format("the disk grown to {}", format_size(options.size)));
  result.imported.layout = layout_text(*found.facts);
  result.imported.prepared = std::move(plan.prepared);
  result.imported.shortfall = std::move(plan.shortfall);
  PINHOLE_TRY(result.has_kernel, take_kernel(files, staging));
  return {};
}

Result<void> add_tools(const Staging& staging, const RootOptions& options, RootResult& result,
                       const StepContext& context) {
  if (options.size > options.report.size) {
    options.growing();
    PINHOLE_TRY_VOID(grow_disk(staging, options.size, context));
    result.imported.prepared.push_back(
        fmt::format("the disk grown to {}", format_size(options.size)));
  }
  options.preparing();
  PINHOLE_TRY(const std::string iso,
              write_iso(kToolsLabel,
                        {{.name = "pinhole-agent", .content = std::string(options.agent)},
                         {.name = "setup.sh", .content = tools_setup()}},
                        kMaxTools));
  PINHOLE_TRY_VOID(sys::write_file_atomic(staging.out() / "tools.iso", iso));
  result.has_tools = true;
  result.imported.layout = "a Linux that was not looked into";
  result.imported.prepared.emplace_back("the agent, on a disk beside it that cloud-init starts");
  result.imported.shortfall.emplace_back(
      "its root file system cannot be written here: without cloud-init in it nobody starts the "
      "agent");
  return {};
}

}  // namespace

std::string_view boot_loader(std::string_view efi_program) {
  constexpr std::size_t kHeaders = 4096;
  const std::string_view headers = efi_program.substr(0, kHeaders);
  if (headers.contains(".linux") && headers.contains(".cmdline")) return "a unified kernel image";
  if (efi_program.contains("LoaderInfo: systemd-boot")) return "systemd-boot";
  if (efi_program.contains("\nshim,") && efi_program.contains("UEFI shim")) return "shim and GRUB";
  if (efi_program.contains("\ngrub,") || efi_program.contains("GRUB")) return "GRUB";
  if (efi_program.contains("\nshim,")) return "shim";
  return "another EFI program";
}

Result<RootResult> prepare_root(const Staging& staging, const RootOptions& options,
                                const StepContext& context) {
  RootResult result;
  PINHOLE_TRY(const std::string boot_file, read_boot_file(staging, options.report, context));
  result.imported.boot = boot_loader(boot_file);
  PINHOLE_TRY(FoundRoot found, find_root(staging, options, context));
  result.imported.root = to_string(found.root.kind);
  if (found.facts) {
    PINHOLE_TRY_VOID(prepare_ext4(staging, options, found, result, context));
  } else {
    PINHOLE_TRY_VOID(add_tools(staging, options, result, context));
  }
  return result;
}

}  // namespace pinhole::image
