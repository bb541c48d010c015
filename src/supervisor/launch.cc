// SPDX-License-Identifier: Apache-2.0
#include "supervisor/launch.h"

#include <algorithm>

#include "qemu/args.h"
#include "wire/hello.h"

namespace pinhole::supervisor {
namespace {

/// Nothing of the user's environment goes in: it may hold tokens, proxies, preloads.
std::map<std::string, std::string> plain_environment() {
  return {{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}};
}

/// In virtiofsd's option lists a backslash keeps the next character from ending a value.
std::string escaped(const std::filesystem::path& path) {
  std::string out;
  for (const char c : path.string()) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

sys::Isolation no_network() { return {.user = true, .network = true, .ipc = true}; }

}  // namespace

sys::Command pep_command(const std::filesystem::path& program, const config::VmPlan& plan,
                         const config::VmPaths& paths, const std::string& boot, const PepFds& fds) {
  sys::Command command{.program = program, .environment = plain_environment()};
  for (const config::PolicyLayer& layer : plan.policy) {
    command.args.insert(command.args.end(), {"--policy", layer.layer + "=" + layer.path.string()});
  }
  command.args.insert(command.args.end(),
                      {"--listen", "fd:4", "--control-fd", "3", "--audit", paths.audit_log.string(),
                       "--vm", plan.name, "--boot", boot, "--canary", "--foreign-keys", "vm"});
  if (!plan.image_sha256.empty())
    command.args.insert(command.args.end(), {"--image", "sha256:" + plan.image_sha256});
  command.descriptors = {{1, fds.log}, {2, fds.log}, {3, fds.control}, {4, fds.listener}};
  return command;
}

sys::Command vsockd_command(const std::filesystem::path& program, const config::VmPlan& plan,
                            const config::VmPaths& paths, int listener, int log) {
  sys::Command command{
      .program = program, .environment = plain_environment(), .isolation = no_network()};
  command.args = {
      "--socket-fd",
      "3",
      "--base",
      paths.guest_base.string(),
      "--ports",
      fmt::format("{}={},{}", wire::kDoorPort, paths.door_socket.string(), wire::kHelloPort),
      "--cid",
      std::to_string(plan.cid),
      "--once"};
  command.descriptors = {{1, log}, {2, log}, {3, listener}};
  return command;
}

std::vector<sys::IdMap> id_map(std::uint32_t own, const sys::IdRange& subordinate) {
  std::vector<sys::IdMap> map = {{.inside = 0, .outside = subordinate.first, .count = 1}};
  const std::uint32_t below = std::min(own > 0 ? own - 1 : 0, subordinate.count - 1);
  if (below > 0) map.push_back({.inside = 1, .outside = subordinate.first + 1, .count = below});
  map.push_back({.inside = own, .outside = own, .count = 1});
  const std::uint32_t used = 1 + below;
  if (subordinate.count > used && own + 1 < 65536) {
    map.push_back({.inside = own + 1,
                   .outside = subordinate.first + used,
                   .count = std::min(subordinate.count - used, 65536 - (own + 1))});
  }
  return map;
}

sys::Command virtiofsd_command(const config::VmPlan& plan, const WorkspaceIds& ids, int listener,
                               int log) {
  sys::Command command{.program = plan.virtiofsd, .environment = plain_environment()};
  command.args = {"--fd=3", "-f",
                  "-o",     "sandbox=namespace",
                  "-o",     "cache=auto",
                  "-o",     "no_xattr",
                  "-o",     "source=" + escaped(*plan.workspace)};
  command.descriptors = {{1, log}, {2, log}, {3, listener}};
  command.isolation = {.user = true,
                       .uid_map = id_map(ids.user.uid, ids.uids),
                       .gid_map = id_map(ids.user.gid, ids.gids),
                       .network = true,
                       .ipc = true,
                       .mount = true,
                       .empty_dirs = {"/run"}};
  command.filter = sys::SpawnFilter::no_special_files;
  return command;
}

sys::Command qemu_command(const config::VmPlan& plan, const MachineFiles& files,
                          const QemuFds& fds) {
  sys::Command command{.program = plan.qemu,
                       .args = qemu::qemu_args(plan),
                       .environment = plain_environment(),
                       .isolation = no_network()};
  command.descriptors = {{1, fds.log},
                         {2, fds.log},
                         {qemu::kQmpFd, fds.qmp},
                         {qemu::kConsoleFd, fds.console},
                         {qemu::kFirmwareCodeFd, files.firmware_code.get()},
                         {qemu::kFirmwareVarsFd, files.firmware_vars.get()},
                         {qemu::kDiskFd, files.disk.get()},
                         {qemu::kSeedFd, files.seed.get()},
                         {qemu::kVsockFd, fds.vsock}};
  if (plan.backing) command.descriptors[qemu::kBackingFd] = files.backing.get();
  if (plan.workspace) command.descriptors[qemu::kWorkspaceFd] = fds.workspace;
  return command;
}

}  // namespace pinhole::supervisor
