// SPDX-License-Identifier: Apache-2.0
#include "cli/ephemeral_vm.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "cli/guard.h"
#include "cli/review.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeptRuns = 100;

/// The oldest first, all but the newest kKeptRuns.
std::vector<fs::path> too_old(const fs::path& runs) {
  std::vector<std::pair<fs::file_time_type, fs::path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(runs, error)) {
    std::error_code ignored;
    found.emplace_back(entry.last_write_time(ignored), entry.path());
  }
  std::ranges::sort(found);
  std::vector<fs::path> out;
  for (std::size_t i = 0; i + kKeptRuns < found.size(); ++i) out.push_back(found[i].second);
  return out;
}

/// What was refused and allowed outlives the machine that asked.
Result<void> keep_audit_log(const config::Paths& paths, const Vm& vm) {
  std::error_code error;
  if (!fs::exists(vm.paths.audit_log, error)) return {};
  PINHOLE_TRY_VOID(sys::make_private_dir(paths.runs));
  fs::rename(vm.paths.audit, paths.runs / vm.name, error);
  if (error) return fail("cannot keep the audit log of {}: {}", vm.name, error.message());
  for (const fs::path& folder : too_old(paths.runs)) PINHOLE_TRY_VOID(sys::remove_tree(folder));
  return {};
}

/// What cannot be kept does not keep the rest.
Result<void> remove(const config::Paths& paths, const Vm& vm) {
  tell_guard(vm);
  const Result<void> kept = keep_audit_log(paths, vm);
  PINHOLE_TRY(const bool removed, remove_vm(vm));
  if (removed) return kept;
  return fail(Error{.message = fmt::format("VM \"{}\" does not end", vm.name),
                    .fix = fmt::format("pinhole rm --force {}", vm.name)});
}

bool runs(const Vm& vm) {
  const auto lock = sys::try_lock(vm.paths.lock);
  return !lock || !*lock;
}

bool is_ephemeral(const Vm& vm) {
  const auto text = sys::read_file(vm.paths.plan, config::kLargestConfigFile);
  const auto plan = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
  return plan && plan->ephemeral;
}

}  // namespace

Result<Fd> own_ephemeral_vm(const Vm& vm) {
  PINHOLE_TRY(auto lock, sys::try_lock(vm.paths.owner_lock));
  if (!lock) return fail("VM \"{}\" has an owner already", vm.name);
  return *std::move(lock);
}

Result<void> end_ephemeral_vm(const config::Paths& paths, const Vm& vm,
                              const std::function<void()>& tell) {
  std::error_code error;
  if (!fs::exists(vm.paths.dir, error)) return {};  // it never came to be
  PINHOLE_TRY_VOID(stop_vm(vm, true));
  tell();
  return remove(paths, vm);
}

Result<bool> remove_dead_ephemeral_vm(const config::Paths& paths, const std::string& name) {
  const Vm vm{.name = name, .paths = config::vm_paths(paths, name)};
  if (!is_ephemeral(vm)) return false;
  const auto owner = own_ephemeral_vm(vm);
  if (!owner || runs(vm)) return false;
  const auto removed = remove(paths, vm);
  tell_left_review(paths, name);
  if (!removed) return std::unexpected(removed.error());
  return true;
}

void sweep_ephemeral_vms(const config::Paths& paths) {
  const auto vms = all_vms();
  if (!vms) return;
  for (const Vm& vm : *vms) {
    if (auto removed = remove_dead_ephemeral_vm(paths, vm.name); !removed)
      log(LogLevel::warning, "{}", removed.error().message);
  }
}

}  // namespace pinhole::cli
