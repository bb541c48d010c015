// SPDX-License-Identifier: Apache-2.0
#include "config/paths.h"

#include <unistd.h>

#include <array>

#include "base/printable.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::config {
namespace {

/// An XDG variable counts only when it is absolute (XDG Base Directory Specification).
fs::path xdg(std::string_view variable, const fs::path& fallback) {
  const auto value = sys::env(variable);
  return value && value->starts_with('/') ? fs::path(*value) : fallback;
}

}  // namespace

Result<Paths> user_paths() {
  PINHOLE_TRY(const sys::User user, sys::current_user());
  const fs::path data = xdg("XDG_DATA_HOME", user.home / ".local/share") / "pinhole";
  const fs::path state = xdg("XDG_STATE_HOME", user.home / ".local/state") / "pinhole";
  const fs::path runtime = xdg("XDG_RUNTIME_DIR", {});
  return Paths{
      .images = data / "images",
      .vms = state / "vms",
      .state = state,
      .runs = state / "runs",
      .runtime = runtime.empty() ? fs::path(fmt::format("/tmp/pinhole-{}", user.uid))
                                 : runtime / "pinhole",
      .config = xdg("XDG_CONFIG_HOME", user.home / ".config") / "pinhole",
  };
}

Result<void> prepare_runtime(const Paths& paths) { return sys::make_private_dir(paths.runtime); }

Result<std::string> valid_vm_name(std::string_view name) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr std::string_view kOthers = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  const bool valid = !name.empty() && name.size() <= kLongestName && kFirst.contains(name[0]) &&
                     name.find_first_not_of(kOthers) == std::string_view::npos &&
                     !name.contains("..");
  if (valid) return std::string(name);
  return fail(
      Error{.message = fmt::format("\"{}\" cannot be the name of a VM", printable(name, 60)),
            .fix = fmt::format("use 1 to {} lower-case letters, digits, '-', '_' and single '.', "
                               "beginning with a letter or digit",
                               kLongestName),
            .exit_status = 2,
            .code = "name_invalid"});
}

VmPaths vm_paths(const Paths& paths, std::string_view name) {
  VmPaths vm;
  vm.dir = paths.vms / name;
  vm.plan = vm.dir / "plan.json";
  vm.disk = vm.dir / "disk.qcow2";
  vm.efi_vars = vm.dir / "efi-vars.fd";
  vm.seed = vm.dir / "seed.iso";
  vm.initrd = vm.dir / "initrd";
  vm.lock = vm.dir / "lock";
  vm.boot_record = vm.dir / "runtime.json";
  vm.owner_lock = vm.dir / "owner.lock";
  vm.authority = vm.dir / "authority";
  vm.status_log = vm.dir / "status.log";
  vm.console_log = vm.dir / "console.log";
  vm.guard_snapshot = vm.dir / "guard.json";
  vm.audit = vm.dir / "audit";
  vm.audit_log = vm.audit / "audit.jsonl";
  vm.supervisor_log = vm.dir / "supervisor.log";
  vm.boot_ok = vm.dir / "boot-ok.txt";
  vm.vsock_fetch = vm.dir / "vsock-fetch.out";
  vm.runtime = paths.runtime / name;
  vm.control = vm.runtime / "control";
  vm.door = vm.runtime / "door";
  vm.guest = vm.runtime / "guest";
  vm.vmm = vm.runtime / "vmm";
  vm.names = vm.runtime / "names";
  vm.control_socket = vm.control / "sock";
  vm.door_socket = vm.door / "v_440";
  vm.guest_base = vm.guest / "v";
  vm.hello_socket = vm.guest / "v_442";
  vm.fs_socket = vm.vmm / "fs.sock";
  return vm;
}

Result<fs::path> inner_program(std::string_view name) {
  PINHOLE_TRY(const fs::path here, sys::program_folder());
  for (const fs::path& folder : {here / "../libexec/pinhole", here}) {
    const fs::path candidate = (folder / name).lexically_normal();
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return fail(
      Error{.message = fmt::format("{} is missing beside this program ({})", name, here.string()),
            .fix = "install Pinhole again: cmake --install BUILD"});
}

Result<fs::path> shared_data(std::string_view relative) {
  PINHOLE_TRY(const fs::path here, sys::program_folder());
  // build/PRESET/bin lies three levels below the source tree.
  for (const fs::path& folder : {here / "../share/pinhole", here / "../../.."}) {
    const fs::path candidate = (folder / relative).lexically_normal();
    std::error_code error;
    if (fs::exists(candidate, error)) return candidate;
  }
  return fail(
      Error{.message = fmt::format("{} is missing from this installation of Pinhole", relative),
            .fix = "install Pinhole again: cmake --install BUILD"});
}

}  // namespace pinhole::config
