// SPDX-License-Identifier: Apache-2.0
// Where things are on the host (XDG Base Directory Specification), and what a VM may be called.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::config {

namespace fs = std::filesystem;

/// The folders of this user. Nothing is created by asking.
struct Paths {
  fs::path images;   // $XDG_DATA_HOME/pinhole/images
  fs::path vms;      // $XDG_STATE_HOME/pinhole/vms
  fs::path state;    // $XDG_STATE_HOME/pinhole
  fs::path runs;     // $XDG_STATE_HOME/pinhole/runs: audit logs that VMs of `run` have left
  fs::path runtime;  // $XDG_RUNTIME_DIR/pinhole, or /tmp/pinhole-UID where that is missing
  fs::path config;   // $XDG_CONFIG_HOME/pinhole
};
Result<Paths> user_paths();

/// Creates `paths.runtime` 0700 and checks that it is ours alone: a folder below /tmp may have been
/// put there by anybody.
Result<void> prepare_runtime(const Paths& paths);

/// 1 to 40 characters: lower-case letters, digits, '.', '_' and '-', beginning with a letter or
/// digit. Short, since it is part of socket paths (107 bytes at most) and of file names.
inline constexpr std::size_t kLongestName = 40;
Result<std::string> valid_vm_name(std::string_view name);

/// The files of one VM. `socket folders` are apart by who may see them (ARCHITECTURE.md).
struct VmPaths {
  fs::path dir;
  fs::path plan, disk, efi_vars, seed, initrd, lock;
  fs::path boot_record;  // runtime.json, while it runs (config/boot_record.h)
  fs::path owner_lock;   // of an ephemeral VM: its command holds it
  fs::path authority;    // folder: the PEP's certificate authority (pep/credentials.h)
  fs::path status_log, console_log, supervisor_log, boot_ok, vsock_fetch;
  fs::path guard_snapshot;  // guard.json: preflight/guard.h
  fs::path audit;           // folder: all of the VM's folder that the PEP may write
  fs::path audit_log;       // audit/audit.jsonl
  fs::path runtime, control, door, guest, vmm;  // folders
  fs::path names;                               // folder: a copy of the host's resolv.conf
  fs::path control_socket;                      // control/sock: supervisor and the user
  fs::path door_socket;                         // door/v_440: vsockd and pep
  fs::path guest_base;  // guest/v: vsockd and supervisor (CONNECT lines); guest/v_442: hello
  fs::path hello_socket;
  fs::path fs_socket;  // vmm/fs.sock: virtiofsd
};
VmPaths vm_paths(const Paths& paths, std::string_view name);

/// libexec/pinhole of this installation, or the folder of this program in a build tree.
Result<fs::path> inner_program(std::string_view name);
/// share/pinhole of this installation (recipes, presets), or the source tree's folder in a build
/// tree.
Result<fs::path> shared_data(std::string_view relative);

}  // namespace pinhole::config
