// SPDX-License-Identifier: Apache-2.0
#include "artifact/boot.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "artifact/fat.h"
#include "artifact/initrd.h"
#include "artifact/kernel.h"
#include "artifact/pe.h"
#include "base/printable.h"
#include "base/strings.h"
#include "failures/artifacts.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kMostShown = 12;
constexpr int kMostEsps = 8;  // looked at; a disk with two of them is rare already

std::string called(const Partition& partition) {
  if (partition.name.empty()) return fmt::format("partition {}", partition.number);
  return fmt::format("partition {} ({})", partition.number, partition.name);
}

class Judge {
 public:
  Judge(const Source& source, const std::string& name, Machine machine, DiskReport& report)
      : source_(source), name_(name), machine_(machine), report_(report) {}

  void esps();
  void roots();

 private:
  Error& problem(const failures::Failure& failure, std::initializer_list<failures::Named> values) {
    return report_.problems.emplace_back(failures::told(failure, values));
  }
  void esp_broken(std::string what) {
    problem(failures::kEspBroken, {{"file", name_}, {"what", std::move(what)}});
  }
  void file_broken(const std::string& path, std::string what) {
    problem(failures::kBootFileBroken,
            {{"file", name_}, {"path", path}, {"what", std::move(what)}});
  }
  void partly_written(std::string part) {
    problem(failures::kDiskPartlyWritten, {{"file", name_}, {"part", std::move(part)}});
  }
  void for_another(std::string_view found) {
    problem(failures::kBootFileForAnotherMachine, {{"file", name_},
                                                   {"found", std::string(found)},
                                                   {"wanted", std::string(to_string(machine_))}});
  }
  void esp(std::size_t number);
  void no_esp();
  void missing(const std::string& path, const Fat& fat);
  void boot_file(const Fat& fat, const Fat::Entry& file, const std::string& path);
  void sections(const Source& file, const Pe& pe, const std::string& path);

  const Source& source_;
  const std::string& name_;
  Machine machine_;
  DiskReport& report_;
};

void Judge::no_esp() {
  Error& error = problem(failures::kDiskHasNoEsp, {{"file", name_}});
  for (const Partition& partition : report_.partitions) {
    if (error.details.size() == kMostShown) break;
    error.details.push_back(fmt::format("{}: {}, type {}", called(partition),
                                        format_size(partition.size), partition.type));
  }
}

/// What there is instead helps to see what kind of disk this is.
void Judge::missing(const std::string& path, const Fat& fat) {
  std::vector<std::string> seen;
  const auto look = [&](const Fat::Listing& listing, const std::string& below) {
    if (!listing) return;
    for (const Fat::Entry& entry : *listing) {
      if (seen.size() < kMostShown)
        seen.push_back(fmt::format("there is {}\\{}", below, printable(entry.name, 80)));
    }
  };
  const auto root = fat.root();
  const Fat::Entry* efi = root ? Fat::find(*root, "EFI") : nullptr;
  if (efi == nullptr) {
    look(root, "");
  } else {
    const auto folders = fat.list(*efi);
    look(folders, "\\EFI");
    const Fat::Entry* boot = folders ? Fat::find(*folders, "BOOT") : nullptr;
    const auto files = boot == nullptr ? Fat::Listing() : fat.list(*boot);
    look(files, "\\EFI\\BOOT");
    static constexpr auto kOthers = std::to_array<std::pair<std::string_view, std::string_view>>(
        {{"BOOTX64.EFI", "x86_64"},
         {"BOOTAA64.EFI", "aarch64"},
         {"BOOTIA32.EFI", "i386"},
         {"BOOTARM.EFI", "arm"},
         {"BOOTRISCV64.EFI", "riscv"}});
    for (const auto& [file, machine] : kOthers) {
      if (files && Fat::find(*files, file) != nullptr) return for_another(machine);
    }
  }
  problem(failures::kBootFileMissing, {{"file", name_}, {"path", path}}).details = std::move(seen);
}

/// What a unified kernel image carries, and that code is there at all.
void Judge::sections(const Source& file, const Pe& pe, const std::string& path) {
  for (const PeSection& section : pe.sections) {
    const PartSource part(file, section.at, section.size);
    const bool needed =
        section.name == ".text" || section.name == ".linux" || section.name == ".initrd";
    if (needed && section.size > 0 && is_blank(part, 0, section.size))
      return partly_written(fmt::format("{} from byte {} on", path, section.at));
    const std::string where = fmt::format("{}: {} ({})", name_, path, section.name);
    std::vector<Error> found;
    if (section.name == ".linux") found = judge_kernel(part, where, machine_).problems;
    if (section.name == ".initrd") found = judge_initrd(part, where, Depth::quick).problems;
    report_.problems.insert(report_.problems.end(), found.begin(), found.end());
  }
}

void Judge::boot_file(const Fat& fat, const Fat::Entry& file, const std::string& path) {
  const auto content = fat.content(file);
  if (!content) return file_broken(path, content.error());
  if ((*content)->size() == 0) return file_broken(path, "it is empty");
  if (is_blank(**content, 0, (*content)->size())) return partly_written(path);
  const auto pe = parse_pe(**content);
  if (!pe && pe.error().needed != 0)
    return file_broken(path,
                       fmt::format("it has {} bytes, and {}", (*content)->size(), pe.error().what));
  if (!pe) return file_broken(path, pe.error().what);
  if (pe_machine(pe->machine) != machine_) return for_another(pe_machine_name(pe->machine));
  if (pe->subsystem != kEfiApplication)
    return file_broken(path, fmt::format("it is a program of another kind ({})", pe->subsystem));
  const std::size_t before = report_.problems.size();
  sections(**content, *pe, path);
  if (report_.problems.size() == before) report_.boot_file = path;
}

/// Firmware looks at each one until something starts; what is told is the trouble of the first.
void Judge::esps() {
  const std::vector<Error> before = report_.problems;
  std::vector<Error> of_first;
  int seen = 0;
  for (std::size_t i = 0; i < report_.partitions.size() && seen < kMostEsps; ++i) {
    if (report_.partitions[i].type != kEspType) continue;
    ++seen;
    report_.problems = before;
    esp(i);
    if (!report_.boot_file.empty()) {
      report_.esp = i;
      return;
    }
    if (report_.esp) continue;
    report_.esp = i;
    of_first = std::exchange(report_.problems, before);
  }
  if (!report_.esp) return no_esp();
  report_.problems = std::move(of_first);
}

void Judge::esp(std::size_t number) {
  const std::string path = fmt::format("\\EFI\\BOOT\\{}", boot_file_name(machine_));
  const Partition& partition = report_.partitions[number];
  if (is_blank(source_, partition.start, partition.size))
    return partly_written(fmt::format("{}, its EFI system partition,", called(partition)));
  const PartSource bytes(source_, partition.start, partition.size);
  const auto fat = Fat::open(bytes);
  if (!fat) return esp_broken(fat.error());
  const auto root = fat->root();
  if (!root) return esp_broken(fmt::format("its root folder: {}", root.error()));
  const Fat::Entry* efi = Fat::find(*root, "EFI");
  if (efi == nullptr || !efi->is_folder) return missing(path, *fat);
  const auto folders = fat->list(*efi);
  if (!folders) return esp_broken(fmt::format("\\EFI: {}", folders.error()));
  const Fat::Entry* boot = Fat::find(*folders, "BOOT");
  if (boot == nullptr || !boot->is_folder) return missing(path, *fat);
  const auto files = fat->list(*boot);
  if (!files) return esp_broken(fmt::format("\\EFI\\BOOT: {}", files.error()));
  const Fat::Entry* file = Fat::find(*files, boot_file_name(machine_));
  if (file == nullptr || file->is_folder) return missing(path, *fat);
  boot_file(*fat, *file, path);
}

/// A system has its root in one of them at least; others may be empty as yet.
void Judge::roots() {
  const Partition* blank = nullptr;
  for (const Partition& partition : report_.partitions) {
    if (!is_linux(partition)) continue;
    if (!is_blank(source_, partition.start, partition.size)) return;
    if (blank == nullptr || partition.size > blank->size) blank = &partition;
  }
  if (blank != nullptr) partly_written(called(*blank));
}

}  // namespace

void judge_boot(const Source& source, const std::string& name, Machine machine,
                DiskReport& report) {
  Judge judge(source, name, machine, report);
  judge.esps();
  judge.roots();
}

}  // namespace pinhole::artifact
