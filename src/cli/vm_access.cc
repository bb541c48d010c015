// SPDX-License-Identifier: Apache-2.0
#include "cli/vm_access.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "cli/guard.h"
#include "leftovers/folders.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::cli {

namespace fs = std::filesystem;

namespace {

/// A supervisor that does not answer, with its VM's name in front.
Error about(const Vm& vm, Error error) {
  if (error.code == "no_answer")
    error.message = fmt::format("VM \"{}\": {}", vm.name, error.message);
  return error;
}

}  // namespace

Result<std::vector<Vm>> all_vms() {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  std::vector<Vm> vms;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(paths.vms, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (config::valid_vm_name(name) && fs::exists(entry.path() / "plan.json", ignored)) {
      vms.push_back({.name = name, .paths = config::vm_paths(paths, name)});
    }
  }
  std::ranges::sort(vms, {}, &Vm::name);
  return vms;
}

Result<Vm> find_vm(const std::string& name) {
  PINHOLE_TRY(const std::string valid, config::valid_vm_name(name));
  PINHOLE_TRY(const auto vms, all_vms());
  const auto found = std::ranges::find(vms, valid, &Vm::name);
  if (found != vms.end()) return *found;
  Error error{.message = fmt::format("there is no VM \"{}\"", valid),
              .fix = fmt::format("pinhole up {}", valid),
              .code = "no_such_vm"};
  if (!vms.empty()) {
    std::vector<std::string> names;
    std::ranges::transform(vms, std::back_inserter(names), &Vm::name);
    error.details.push_back(fmt::format("there is: {}", fmt::join(names, ", ")));
  }
  return fail(std::move(error));
}

Result<supervisor::ControlClient> connect(const Vm& vm) {
  auto client = supervisor::ControlClient::connect(vm.paths.control_socket);
  if (client) return client;
  if (client.error().code == "no_answer") return fail(about(vm, client.error()));
  return fail(Error{.message = fmt::format("VM \"{}\" is not running", vm.name),
                    .fix = fmt::format("pinhole up {}", vm.name),
                    .code = "not_running"});
}

Result<std::string> name_or_only(const std::string& name) {
  if (!name.empty()) return name;
  PINHOLE_TRY(const auto vms, all_vms());
  if (vms.size() == 1) return vms.front().name;
  if (vms.empty())
    return fail(Error{.message = "there is no VM", .fix = "pinhole up NAME", .code = "no_such_vm"});
  return fail(Error{.message = "there are several VMs; which one?",
                    .fix = "name it (pinhole ls shows them)",
                    .exit_status = 2});
}

Result<bool> remove_vm(const Vm& vm) {
  PINHOLE_TRY(const auto lock, sys::try_lock(vm.paths.lock));
  if (!lock) return false;
  tell_guard(vm);  // nobody could any more
  // Renamed first: a removal that is interrupted leaves no half VM under its name.
  const auto doomed = vm.paths.dir.parent_path() / fmt::format(".removed-{}", vm.name);
  PINHOLE_TRY_VOID(sys::remove_tree(doomed));
  std::error_code error;
  fs::rename(vm.paths.dir, doomed, error);
  if (error) return fail("cannot remove {}: {}", vm.paths.dir.string(), error.message());
  PINHOLE_TRY_VOID(sys::remove_tree(doomed));
  // Nobody of ours is there; where somebody answers, it is a VM of that name with another XDG_STATE_HOME.
  if (leftovers::is_socket_folder(vm.paths.runtime, vm.name) &&
      !leftovers::answers(vm.paths.runtime))
    PINHOLE_TRY_VOID(leftovers::remove_socket_folder(vm.paths.runtime));
  return true;
}

Result<bool> stop_vm(const Vm& vm, bool force) {
  // Who answers where nobody has the lock is a VM of that name with another XDG_STATE_HOME.
  if (const auto lock = sys::try_lock(vm.paths.lock); lock && *lock) return false;
  auto client = supervisor::ControlClient::connect(vm.paths.control_socket);
  if (!client && client.error().code == "no_answer") return fail(about(vm, client.error()));
  if (!client) {
    // No socket, but perhaps a supervisor that is just starting or ending: its lock tells.
    PINHOLE_TRY(const auto lock, sys::try_lock(vm.paths.lock));
    if (lock) return false;
    return fail(Error{.message = fmt::format("VM \"{}\" is starting or stopping just now", vm.name),
                      .fix = "try again in a moment"});
  }
  constexpr auto kStopAnswer = std::chrono::seconds(10);
  const auto answer = client->request({{"op", "stop"}, {"force", force}}, kStopAnswer);
  if (!answer) return fail(about(vm, answer.error()));
  constexpr auto kLongestStop = std::chrono::seconds(120);
  if (!client->wait_ended(kLongestStop)) {
    return fail(Error{
        .message = fmt::format("VM \"{}\" did not stop within {} s", vm.name, kLongestStop.count()),
        .fix = fmt::format("pinhole down --force {}", vm.name)});
  }
  return true;
}

}  // namespace pinhole::cli
