// SPDX-License-Identifier: Apache-2.0
// What each inner process is started with: program, arguments, descriptors, and how it is set apart
// (the table of ARCHITECTURE.md). Pure: nothing is started here. The isolation is the whole of it; what
// this host refuses of it, sys::available() takes away.
#pragma once

#include "base/error.h"
#include "config/paths.h"
#include "config/vm_plan.h"
#include "supervisor/machine_files.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::supervisor {

/// In VmPaths::names. A file that a process sees by itself stays the same file however often its name is given to a
/// new one, as /etc/resolv.conf's is when the host changes its network; a folder shows the new one.
inline constexpr const char* kResolvConf = "resolv.conf";
/// Copies the host's there if it has changed. True: it has.
Result<bool> refresh_resolv_conf(const std::filesystem::path& host_file,
                                 const config::VmPaths& paths);

/// What serves a share, and what stands between that and QEMU.
inline constexpr std::string_view kFileServer = "virtiofsd";
inline constexpr std::string_view kFileGuard = "fsguard";
/// "virtiofsd" for the workspace's, "virtiofsd-share-1" for another's.
std::string process_name(std::string_view kind, std::string_view tag);
/// Of such a name, or of any other process: "virtiofsd", "pep".
std::string_view process_kind(std::string_view name);

/// Descriptors are the parent's, borrowed until spawn() returns.
struct PepFds {
  int control = -1;
  int listener = -1;
  int log = -1;
};
sys::Command pep_command(const std::filesystem::path& program, const config::VmPlan& plan,
                         const config::VmPaths& paths, const std::string& boot, const PepFds& fds);

struct VsockdFds {
  int vhost = -1;  // QEMU's connection arrives here
  int base = -1;   // listening at guest/v: the host's programs arrive here
  int control = -1;
  int log = -1;
};
sys::Command vsockd_command(const std::filesystem::path& program, const config::VmPlan& plan,
                            const config::VmPaths& paths, const VsockdFds& fds);

/// The user's uid inside is the user's uid outside; every other id belongs to the user's
/// subordinate ids, so that nothing in the guest, its root included, makes files as anybody else on
/// this host.
struct ShareIds {
  sys::User user;
  sys::IdRange uids, gids;
};
/// Sees the share's folder and no other, and where that is read-only, a mount that nobody writes to,
/// whatever the guest asks for.
sys::Command virtiofsd_command(const config::VmPlan& plan, const config::Share& share,
                               const ShareIds& ids, int listener, int log);

struct FsguardFds {
  int qemu = -1;    // one end of a socket pair; QEMU has the other
  int server = -1;  // connected to virtiofsd
  int log = -1;
};
sys::Command fsguard_command(const std::filesystem::path& program, const FsguardFds& fds);

/// {0 → first subordinate id, U → U, the rest → further subordinate ids}: see newuidmap(1).
std::vector<sys::IdMap> id_map(std::uint32_t own, const sys::IdRange& subordinate);

struct QemuFds {
  int qmp = -1;
  int console = -1;
  int vsock = -1;
  std::vector<int> shares = {};  // in the plan's order
  int log = -1;
};
sys::Command qemu_command(const config::VmPlan& plan, const MachineFiles& files,
                          const QemuFds& fds);

}  // namespace pinhole::supervisor
