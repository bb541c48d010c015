// SPDX-License-Identifier: Apache-2.0
#include "leftovers/start.h"

#include <poll.h>

#include <chrono>

#include "base/printable.h"
#include "base/strings.h"
#include "failures/host_folders.h"
#include "failures/leftovers.h"
#include "leftovers/find.h"
#include "leftovers/folders.h"
#include "leftovers/lock_holder.h"
#include "leftovers/processes.h"
#include "sys/files.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

/// A look at a VM (status, ls) takes its lock for a moment.
constexpr std::chrono::milliseconds kMoment{1000};
constexpr int kLookAgainMs = 20;
constexpr std::uint64_t kLongestName = 64;  // of a program, as the kernel keeps it

std::string program_of(pid_t pid) {
  const auto name = sys::read_file(fmt::format("/proc/{}/comm", pid), kLongestName);
  return name ? printable(trim(*name), 60) : "?";
}

/// " that is stopped", where it is.
std::string state_of(pid_t pid) {
  const auto text = sys::read_file(fmt::format("/proc/{}/stat", pid), 64 << 10);
  const auto stat = text ? sys::parse_process_stat(*text) : std::nullopt;
  return stat && (stat->state == 'T' || stat->state == 't') ? ", which is stopped" : "";
}

Error lock_held(const config::VmPaths& vm, std::string_view name) {
  std::string holder = "a process that does not show itself";
  std::string look = fmt::format("see who has it: sudo fuser -v {}", vm.lock.string());
  if (const auto pids = lock_holders(vm.lock); !pids.empty()) {
    holder = fmt::format("process {} ({})", pids.front(), program_of(pids.front()));
    look = fmt::format("see what it is: ps -fp {}", pids.front());
  }
  return failures::told(
      failures::kVmLockHeld,
      {{"vm", std::string(name)}, {"holder", holder}, {"file", vm.lock.string()}, {"look", look}});
}

Error being_started(const config::RecordedProcess& owner, std::string_view name) {
  return failures::told(failures::kBeingStarted, {{"vm", std::string(name)},
                                                  {"pid", std::to_string(owner.identity.pid)},
                                                  {"state", state_of(owner.identity.pid)}});
}

/// True: nobody has the lock any more. False: the VM runs.
Result<bool> await_lock(const config::VmPaths& vm, std::string_view name,
                        std::vector<std::string>& notes) {
  const auto deadline = steady_clock::now() + kMoment;
  while (is_locked(vm.lock)) {
    const auto record = read_record(vm);
    if (record) {
      const config::RecordedProcess* owner = living_owner(*record);
      if (owner != nullptr && owner->name == "up") return fail(being_started(*owner, name));
      if (owner != nullptr) return false;
      for (const config::RecordedProcess& process : living(*record)) {
        PINHOLE_TRY_VOID(end_process(process, name));
        notes.push_back(fmt::format("ended what an earlier boot had left: {} (process {})",
                                    printable(process.name, 60), process.identity.pid));
      }
    }
    if (steady_clock::now() > deadline) return fail(lock_held(vm, name));
    ::poll(nullptr, 0, kLookAgainMs);
  }
  return true;
}

std::string removed_note(const Leftover& leftover) {
  std::string note = leftover.text;
  if (!leftover.processes.empty()) note += "; ended";
  return note;
}

}  // namespace

Result<std::vector<std::string>> clear_for_start(const config::Paths& paths,
                                                 std::string_view name) {
  std::vector<std::string> notes;
  PINHOLE_TRY(const std::string valid, config::valid_vm_name(name));
  PINHOLE_TRY(const bool is_free, await_lock(config::vm_paths(paths, valid), valid, notes));
  if (!is_free) return notes;
  const FindOptions options{.vm = valid, .sizes = false};
  PINHOLE_TRY(const auto found, find(paths, options));
  for (const Leftover& leftover : found) {
    const bool of_a_start = leftover.kind == Kind::boot || leftover.kind == Kind::half_written;
    if (!of_a_start) continue;
    PINHOLE_TRY(const bool removed, remove(paths, leftover, options));
    if (removed) notes.push_back(removed_note(leftover));
  }
  return notes;
}

std::optional<Error> why_held(const config::VmPaths& vm, std::string_view name,
                              const std::function<bool(const fs::path&)>& answers) {
  const auto deadline = steady_clock::now() + kMoment;
  for (; is_locked(vm.lock); ::poll(nullptr, 0, kLookAgainMs)) {
    const auto record = read_record(vm);
    const config::RecordedProcess* owner = record ? living_owner(*record) : nullptr;
    const std::string state = owner == nullptr ? "" : state_of(owner->identity.pid);
    if (owner != nullptr && owner->name == "up") {
      if (state.empty()) return std::nullopt;
      return being_started(*owner, name);
    }
    if (owner != nullptr) {
      if (state.empty() && answers(vm.control_socket)) return std::nullopt;
      return failures::told(failures::kVmSilent, {{"vm", std::string(name)},
                                                  {"pid", std::to_string(owner->identity.pid)},
                                                  {"state", state}});
    }
    if (steady_clock::now() > deadline) return lock_held(vm, name);
  }
  return std::nullopt;
}

}  // namespace pinhole::leftovers
