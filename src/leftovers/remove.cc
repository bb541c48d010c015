// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "image/store.h"
#include "leftovers/find.h"
#include "leftovers/folders.h"
#include "leftovers/images.h"
#include "leftovers/processes.h"
#include "sys/files.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;

Result<void> remove_trees(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) PINHOLE_TRY_VOID(sys::remove_tree(path));
  return {};
}

/// Folders of sockets, and the record, which is last.
Result<void> remove_boot(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) {
    std::error_code error;
    if (fs::is_directory(fs::symlink_status(path, error))) {
      PINHOLE_TRY_VOID(remove_socket_folder(path));
    } else if (!fs::remove(path, error) && error) {
      return fail("cannot remove {}: {}", path.string(), error.message());
    }
  }
  return {};
}

/// Its processes first: one of them may hold the lock.
Result<bool> end_processes(const config::VmPaths& vm, const Leftover& leftover) {
  const auto record = read_record(vm);
  if (record && living_owner(*record) != nullptr) return false;
  for (const config::RecordedProcess& process : leftover.processes)
    PINHOLE_TRY_VOID(end_process(process, leftover.name));
  return true;
}

/// Also the lock of a folder that is about to go, which is why it is the caller's.
Result<std::optional<Fd>> lock_in(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return std::optional<Fd>();
  return sys::try_lock(folder / "lock");
}

/// Under the VM's lock: renamed first, so that nobody meets half of it.
Result<void> remove_vm_folder(const config::Paths& paths, const Leftover& leftover) {
  const fs::path doomed = paths.vms / fmt::format(".removed-{}", leftover.name);
  PINHOLE_TRY_VOID(sys::remove_tree(doomed));
  std::error_code error;
  fs::rename(leftover.paths.front(), doomed, error);
  if (error) return fail("cannot remove {}: {}", leftover.paths.front().string(), error.message());
  return sys::remove_tree(doomed);
}

Result<void> remove_under_lock(const config::Paths& paths, const Leftover& leftover) {
  if (leftover.kind == Kind::unfinished_vm) return remove_vm_folder(paths, leftover);
  if (leftover.kind == Kind::staging || leftover.kind == Kind::review)
    return image::remove_mapped_tree(leftover.paths.front());
  if (leftover.kind == Kind::boot || leftover.kind == Kind::runtime_folder)
    return remove_boot(leftover.paths);
  return remove_trees(leftover.paths);
}

/// What covers it; nothing held where no lock does, and `busy` where somebody has it.
struct Held {
  std::optional<Fd> lock;
  bool busy = false;
};
Result<Held> hold(const config::Paths& paths, const Leftover& leftover) {
  Held out;
  if (leftover.kind == Kind::staging) {
    PINHOLE_TRY(out.lock, image::lock_image(paths.images, leftover.name));
    out.busy = !out.lock;
    return out;
  }
  const bool own = leftover.kind == Kind::removed_vm || leftover.kind == Kind::review;
  const fs::path folder = own ? leftover.paths.front() : paths.vms / leftover.name;
  std::error_code error;
  if (leftover.name.empty() || !fs::is_directory(folder, error)) return out;
  PINHOLE_TRY(out.lock, lock_in(folder));
  out.busy = !out.lock;
  return out;
}

bool same(const Leftover& a, const Leftover& b) {
  return a.kind == b.kind && a.name == b.name && a.paths == b.paths;
}

}  // namespace

Result<bool> remove(const config::Paths& paths, const Leftover& leftover,
                    const FindOptions& options) {
  if (leftover.kind == Kind::ephemeral_vm) {
    return fail(Error{.message = fmt::format("the VM of a run is left: {}", leftover.name),
                      .fix = "pinhole gc"});
  }
  FindOptions again = options;
  again.sizes = false;
  const bool in_vms = leftover.kind == Kind::boot || leftover.kind == Kind::unfinished_vm ||
                      (leftover.kind == Kind::half_written && !leftover.name.empty());
  if (in_vms) again.vm = leftover.name;
  PINHOLE_TRY(const auto now, find(paths, again));
  const bool is_there =
      std::ranges::any_of(now, [&](const Leftover& other) { return same(other, leftover); });
  if (!is_there) return false;
  if (leftover.kind == Kind::image) {
    PINHOLE_TRY_VOID(remove_unused_image(paths, leftover.name));
    return true;
  }
  if (leftover.kind == Kind::boot) {
    PINHOLE_TRY(const bool over, end_processes(config::vm_paths(paths, leftover.name), leftover));
    if (!over) return false;
  }
  PINHOLE_TRY(const Held held, hold(paths, leftover));
  if (held.busy) return false;
  PINHOLE_TRY_VOID(remove_under_lock(paths, leftover));
  return true;
}

}  // namespace pinhole::leftovers
