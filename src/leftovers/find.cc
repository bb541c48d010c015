// SPDX-License-Identifier: Apache-2.0
#include "leftovers/find.h"

#include <algorithm>
#include <tuple>

#include "base/printable.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "image/store.h"
#include "leftovers/folders.h"
#include "leftovers/images.h"
#include "leftovers/processes.h"
#include "leftovers/trials.h"
#include "leftovers/usage.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;

using Found = std::vector<Leftover>;

struct Search {
  const config::Paths& paths;
  const FindOptions& options;
};

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

std::vector<std::string> vm_names(const Search& search) {
  auto names = names_in(search.paths.vms);
  std::erase_if(names, [&](const std::string& name) {
    return !config::valid_vm_name(name) ||
           (!search.options.vm.empty() && name != search.options.vm);
  });
  return names;
}

std::string how_it_ended(const config::BootRecord& record, std::string_view vm) {
  if (!config::is_of_here(record)) {
    const auto boot = sys::host_boot_id();
    return boot && record.host_boot == *boot
               ? fmt::format(
                     "VM \"{}\" ran in a container (PID namespace) that is gone, or not "
                     "this one",
                     vm)
               : fmt::format("the host was restarted while VM \"{}\" ran", vm);
  }
  const bool prepared = std::ranges::any_of(
      record.processes, [](const auto& process) { return process.name == "up"; });
  return prepared ? fmt::format("a start of VM \"{}\" was broken off", vm)
                  : fmt::format("VM \"{}\" ended without a word: its supervisor is gone", vm);
}

/// Of a VM that nobody starts or runs; recorded processes may still hold its lock.
void find_boot(const config::VmPaths& vm, const std::string& name, Found& out) {
  const auto record = read_record(vm);
  if (!record || living_owner(*record) != nullptr) return;
  Leftover found{
      .kind = Kind::boot, .name = name, .paths = {}, .text = how_it_ended(*record, name)};
  found.processes = living(*record);
  if (found.processes.empty() && is_locked(vm.lock)) return;  // somebody is at it
  for (const fs::path& path : record->paths) {
    // An empty one elsewhere may be anybody's.
    const bool ours = path == vm.runtime || !names_in(path).empty();
    if (ours && is_socket_folder(path, name) && !answers(path)) found.paths.push_back(path);
  }
  found.paths.push_back(vm.boot_record);
  if (!found.processes.empty())
    found.text += fmt::format("; what it left still runs: {}", words_for(found.processes));
  out.push_back(std::move(found));
}

bool is_ephemeral(const config::VmPaths& vm) {
  const auto text = sys::read_file(vm.plan, config::kLargestConfigFile);
  const auto plan = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
  return plan && plan->ephemeral;
}

/// Without a plan, the folder alone says that it is nobody's; with a record, its owner does.
bool is_unfinished(const Search& search, const config::VmPaths& vm) {
  if (is_there(vm.plan)) return false;
  if (const auto record = read_record(vm)) return living_owner(*record) == nullptr;
  return is_settled(vm.dir, search.options.now);
}

void find_half_written(const config::VmPaths& vm, const std::string& name, Found& out) {
  Leftover found{.kind = Kind::half_written,
                 .name = name,
                 .paths = {},
                 .text = fmt::format("half-written files in the folder of VM \"{}\"", name)};
  for (const std::string& file : names_in(vm.dir)) {
    if (is_half_written(file)) found.paths.push_back(vm.dir / file);
  }
  if (!found.paths.empty()) out.push_back(std::move(found));
}

void find_in_vms(const Search& search, Found& out) {
  for (const std::string& name : vm_names(search)) {
    const config::VmPaths vm = config::vm_paths(search.paths, name);
    const bool unfinished = is_unfinished(search, vm);
    if (!unfinished) find_boot(vm, name, out);
    if (is_locked(vm.lock)) continue;
    if (unfinished) {
      out.push_back({.kind = Kind::unfinished_vm,
                     .name = name,
                     .paths = {vm.dir},
                     .text = fmt::format("the first start of VM \"{}\" was broken off", name)});
    } else if (is_ephemeral(vm) && !is_locked(vm.owner_lock)) {
      out.push_back({.kind = Kind::ephemeral_vm,
                     .name = name,
                     .paths = {vm.dir},
                     .text = fmt::format("the VM of a run that was killed: {}", name)});
    } else {
      find_half_written(vm, name, out);
    }
  }
}

void find_removed(const Search& search, Found& out) {
  for (const std::string& file : names_in(search.paths.vms)) {
    const std::string name = removed_name(file);
    const fs::path folder = search.paths.vms / file;
    if (name.empty() || is_locked(folder / "lock")) continue;
    out.push_back({.kind = Kind::removed_vm,
                   .name = name,
                   .paths = {folder},
                   .text = fmt::format("the removal of VM \"{}\" was broken off", name)});
  }
}

void find_runtime_folders(const Search& search, Found& out) {
  if (!is_ours_alone(search.paths.runtime)) return;  // no VM starts there either
  for (const std::string& name : names_in(search.paths.runtime)) {
    const fs::path folder = search.paths.runtime / name;
    if (!config::valid_vm_name(name) || !is_socket_folder(folder, name)) continue;
    const config::VmPaths vm = config::vm_paths(search.paths, name);
    // Those that a record names are told of with it.
    if (read_record(vm) || is_locked(vm.lock) || answers(folder)) continue;
    if (!is_settled(folder, search.options.now)) continue;
    out.push_back({.kind = Kind::runtime_folder,
                   .name = name,
                   .paths = {folder},
                   .text = fmt::format("sockets of a VM \"{}\" that nobody runs", name)});
  }
}

void find_state_files(const Search& search, Found& out) {
  Leftover found{.kind = Kind::half_written,
                 .name = {},
                 .paths = {},
                 .text = "half-written files in Pinhole's own folder"};
  for (const std::string& file : names_in(search.paths.state)) {
    const fs::path path = search.paths.state / file;
    if (is_half_written(file) && is_settled(path, search.options.now)) found.paths.push_back(path);
  }
  if (!found.paths.empty()) out.push_back(std::move(found));
}

void find_staging(const Search& search, Found& out) {
  for (const std::string& file : names_in(search.paths.images)) {
    const auto name = image::staged_name(file);
    if (!name || is_locked(search.paths.images / fmt::format(".lock-{}", *name))) continue;
    out.push_back(
        {.kind = Kind::staging,
         .name = *name,
         .paths = {search.paths.images / file},
         .text = fmt::format("a build, import or removal of image \"{}\" was broken off", *name)});
  }
}

/// What a guest wrote is the user's to apply or drop; where it wrote nothing, there is nothing to decide.
bool is_empty_review(const fs::path& dir) {
  if (!is_there(dir / "review.json")) return true;
  std::error_code error;
  return fs::is_empty(dir / "upper", error) && !error;
}

void find_reviews(const Search& search, Found& out) {
  const fs::path reviews = search.paths.state / "reviews";
  for (const std::string& name : names_in(reviews)) {
    const fs::path dir = reviews / name;
    if (!config::valid_vm_name(name) || is_there(search.paths.vms / name) ||
        is_locked(dir / "lock"))
      continue;
    if (!is_settled(dir, search.options.now) || !is_empty_review(dir)) continue;
    out.push_back({.kind = Kind::review,
                   .name = name,
                   .paths = {dir},
                   .text = fmt::format("a review of run {} without a change in it", name)});
  }
}

void find_trials(const Search& search, Found& out) {
  auto trials = old_trials(search.paths, search.options.now);
  if (trials.empty()) return;
  out.push_back({.kind = Kind::trial,
                 .name = {},
                 .paths = std::move(trials),
                 .text = "folders in which a doctor that was killed tried something"});
}

void find_images(const Search& search, Found& out) {
  if (!search.options.images) return;
  const auto images = image::list_images(search.paths.images);
  if (!images) return;
  for (const image::Listed& image : *images) {
    const auto last = last_image_use(search.paths, image.name);
    const auto vms = vms_on_image(search.paths, image.name);
    if (!image.image || !last || *last + kUnusedImage > search.options.now) continue;
    if (!vms || !vms->empty()) continue;
    if (is_locked(search.paths.images / fmt::format(".lock-{}", image.name))) continue;
    const auto days = std::chrono::floor<std::chrono::days>(search.options.now - *last);
    out.push_back({.kind = Kind::image,
                   .name = image.name,
                   .paths = {search.paths.images / image.name},
                   .text = fmt::format("image \"{}\", which no VM stands on and nobody has started "
                                       "for {} days",
                                       printable(image.name, 80), days.count())});
  }
}

constexpr void (*kSearches[])(const Search&, Found&) = {
    find_in_vms,  find_removed, find_runtime_folders, find_state_files,
    find_staging, find_reviews, find_trials,          find_images,
};

}  // namespace

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::boot:
      return "boot";
    case Kind::runtime_folder:
      return "runtime folder";
    case Kind::ephemeral_vm:
      return "ephemeral VM";
    case Kind::unfinished_vm:
      return "unfinished VM";
    case Kind::removed_vm:
      return "removed VM";
    case Kind::half_written:
      return "half-written files";
    case Kind::staging:
      return "staging folder";
    case Kind::review:
      return "empty review";
    case Kind::trial:
      return "trial folder";
    case Kind::image:
      return "unused image";
  }
  return "";
}

Result<std::vector<Leftover>> find(const config::Paths& paths, const FindOptions& options) {
  Found out;
  const Search search{.paths = paths, .options = options};
  if (!options.vm.empty()) {
    find_in_vms(search, out);
  } else {
    for (const auto& one : kSearches) one(search, out);
  }
  if (options.sizes) {
    for (Leftover& leftover : out) {
      for (const fs::path& path : leftover.paths) leftover.bytes += usage_of(path).bytes;
    }
  }
  std::ranges::sort(out, [](const Leftover& a, const Leftover& b) {
    return std::tie(a.kind, a.name, a.paths) < std::tie(b.kind, b.name, b.paths);
  });
  return out;
}

}  // namespace pinhole::leftovers
