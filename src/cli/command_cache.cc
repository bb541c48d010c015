// SPDX-License-Identifier: Apache-2.0
// pinhole cache: the volumes that --cache keeps. What is in them a guest has written: nothing here
// looks into one.
#include <algorithm>

#include <boost/json.hpp>

#include "base/printable.h"
#include "cli/app.h"
#include "cli/terminal.h"
#include "cli/vm_access.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "preflight/shares.h"
#include "preflight/subordinate_ids.h"
#include "supervisor/launch.h"
#include "sys/files.h"
#include "sys/host_confinement.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::uint64_t kLongestPath = 4096;

struct Volume {
  std::string name;
  std::string project;  // the folder that it belongs to
  fs::path folder;
};

/// The folders directly below that are ours to look at; none where it cannot be listed.
std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  auto entry = fs::directory_iterator(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code gone;
    const std::string name = entry->path().filename().string();
    if (!name.starts_with('.') && fs::is_directory(entry->symlink_status(gone)))
      found.push_back(entry->path());
  }
  return found;
}

/// Sorted by project and name; of a folder alone, or of all.
std::vector<Volume> volumes_below(const fs::path& caches, const std::optional<fs::path>& only) {
  std::vector<Volume> found;
  for (const fs::path& project : folders_in(caches)) {
    if (only && project != *only) continue;
    const auto named = sys::read_file(project / preflight::kCacheProject, kLongestPath);
    for (const fs::path& volume : folders_in(project)) {
      const std::string name = volume.filename().string();
      if (!config::valid_vm_name(name)) continue;
      found.push_back({.name = name, .project = named.value_or(std::string()), .folder = volume});
    }
  }
  std::ranges::sort(found, {}, &Volume::folder);
  return found;
}

Result<int> list(bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  json::array out;
  for (const Volume& volume : volumes_below(preflight::caches_folder(paths), std::nullopt)) {
    if (!as_json) print_line(fmt::format("{:<12} {}", volume.name, printable(volume.project, 200)));
    out.push_back(json::object{{"name", volume.name},
                               {"project", printable(volume.project)},
                               {"folder", volume.folder.string()}});
  }
  if (as_json) print_json(json::serialize(out));
  return 0;
}

/// Who has the volume, for people: a VM that runs, as far as plans tell.
std::string user_of(const fs::path& volume) {
  const auto vms = all_vms();
  if (!vms) return "a VM";
  for (const Vm& vm : *vms) {
    const auto text = sys::read_file(vm.paths.plan, config::kLargestConfigFile);
    const auto plan = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
    if (!plan) continue;
    if (std::ranges::find(plan->shares, volume, &config::Share::host) == plan->shares.end())
      continue;
    const auto lock = sys::try_lock(vm.paths.lock);
    if (lock && !*lock) return fmt::format("VM \"{}\"", vm.name);
  }
  return "a VM";
}

/// As those whom its files belong to: what the guest's root made is not the user's to remove.
Result<void> remove_files(const Volume& volume) {
  PINHOLE_TRY(const sys::User owner, sys::current_user());
  PINHOLE_TRY(const auto ids, preflight::check_subordinate_ids(owner));
  sys::FileView view{.paths = sys::runtime_libraries()};
  const fs::path program = "/usr/bin/rm";
  view.paths.push_back({.path = program, .access = sys::Visible::Access::execute});
  view.paths.push_back(
      {.path = volume.folder.parent_path(), .access = sys::Visible::Access::write});
  sys::Command command{.program = program,
                       .args = {"-rf", "--one-file-system", "--", volume.folder.string()},
                       .environment = {{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}}};
  command.isolation = sys::apart(std::move(view));
  command.isolation.uid_map = supervisor::id_map(owner.uid, ids.uids);
  command.isolation.gid_map = supervisor::id_map(owner.gid, ids.gids);
  PINHOLE_TRY(command.isolation, sys::available_here(std::move(command.isolation)));
  constexpr std::chrono::minutes kLongest{10};
  PINHOLE_TRY(const auto output, sys::run(std::move(command), {.time = kLongest}));
  if (output.status.ok()) return {};
  return fail("cannot remove the cache \"{}\": rm {}: {}", volume.name, output.status.text(),
              printable(output.err, 300));
}

/// With the last volume of a project its folder goes as well.
Result<void> remove(const Volume& volume) {
  PINHOLE_TRY(const auto locks, preflight::keep_from_use(volume.folder));
  if (!locks) {
    return fail(Error{.message = fmt::format("cannot remove the cache \"{}\": {} uses it",
                                             volume.name, user_of(volume.folder)),
                      .fix = "end it first: pinhole ls shows all, pinhole down NAME"});
  }
  PINHOLE_TRY_VOID(remove_files(volume));
  const fs::path project = volume.folder.parent_path();
  if (!volumes_below(project.parent_path(), project).empty()) return {};
  return sys::remove_tree(project);
}

Result<int> remove_volumes(const std::vector<std::string>& names) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  std::error_code error;
  const fs::path project = fs::current_path(error);
  const fs::path folder = preflight::cache_folder(paths, project);
  const auto volumes = volumes_below(preflight::caches_folder(paths), folder);
  for (const std::string& name : names) {
    const auto volume = std::ranges::find(volumes, name, &Volume::name);
    if (volume == volumes.end()) {
      return fail(Error{.message = fmt::format("{} has no cache \"{}\"",
                                               printable(project.string()), printable(name, 60)),
                        .fix = "pinhole cache ls shows all; go to the folder that it belongs to"});
    }
    PINHOLE_TRY_VOID(remove(*volume));
  }
  return 0;
}

}  // namespace

void add_cache(Commands& commands) {
  CLI::App& parent =
      commands.add("cache", "List and remove the volumes that --cache keeps", "  pinhole cache ls");
  parent.require_subcommand(1);
  auto as_json = std::make_shared<bool>(false);
  CLI::App& list_command =
      commands.add("ls", "List the volumes of all projects", "  pinhole cache ls", &parent);
  list_command.add_flag("--json", *as_json, "print JSON");
  commands.on(list_command, [=] { return list(*as_json); });

  CLI::App& remove_command = commands.add("rm", "Remove volumes of the project in this folder",
                                          "  pinhole cache rm npm", &parent);
  auto names = std::make_shared<std::vector<std::string>>();
  remove_command.add_option("NAME", *names, "the volumes")->required();
  commands.on(remove_command, [=] { return remove_volumes(*names); });
}

}  // namespace pinhole::cli
