// SPDX-License-Identifier: Apache-2.0
#include "supervisor/launch.h"

#include <sys/resource.h>

#include <algorithm>

#include "qemu/args.h"
#include "sys/host_confinement.h"
#include "wire/hello.h"

namespace pinhole::supervisor {
namespace {

/// Nothing of the user's environment goes in: it may hold tokens, proxies, preloads.
std::map<std::string, std::string> plain_environment() {
  return {{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}};
}

using Access = sys::Visible::Access;

constexpr std::uint64_t kMaxDescriptors = 4096;
/// Where virtiofsd sees the folder.
constexpr const char* kShareInside = "/workspace";

/// `program` and what it needs to start.
sys::FileView view_of(const std::filesystem::path& program) {
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = program, .access = Access::execute});
  return view;
}

/// What names, certificates and OpenSSL's settings are read from; the user's own additions among them.
std::vector<sys::Visible> resolver_and_trust_files() {
  std::vector<sys::Visible> out;
  for (const char* path :
       {"/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/localtime",
        // Not /etc/ssl/private: members of a group may read that.
        "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem",
        "/etc/pki/tls/openssl.cnf", "/etc/ca-certificates", "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates"})
    out.push_back({.path = path, .optional = true});
  return out;
}

}  // namespace

sys::Command pep_command(const std::filesystem::path& program, const config::VmPlan& plan,
                         const config::VmPaths& paths, const std::string& boot, const PepFds& fds) {
  sys::Command command{.program = program, .environment = plain_environment()};
  sys::FileView view = view_of(program);
  for (sys::Visible& file : resolver_and_trust_files()) view.paths.push_back(std::move(file));
  for (const config::PolicyLayer& layer : plan.policy) {
    command.args.insert(command.args.end(), {"--policy", layer.layer + "=" + layer.path.string()});
    view.paths.push_back({.path = layer.path});
  }
  for (const auto& file : plan.ca_files) view.paths.push_back({.path = file, .optional = true});
  view.paths.push_back({.path = paths.audit, .access = Access::write});
  view.paths.push_back({.path = paths.names});
  view.paths.push_back({.path = paths.authority});
  command.args.insert(
      command.args.end(),
      {"--listen", "fd:4", "--control-fd", "3", "--audit", paths.audit_log.string(), "--vm",
       plan.name, "--boot", boot, "--canary", "--resolv-conf", (paths.names / kResolvConf).string(),
       "--authority", paths.authority.string(), "--foreign-keys", "vm"});
  if (!plan.image_sha256.empty())
    command.args.insert(command.args.end(), {"--image", "sha256:" + plan.image_sha256});
  command.descriptors = {{1, fds.log}, {2, fds.log}, {3, fds.control}, {4, fds.listener}};
  command.isolation = sys::apart(std::move(view));
  // The one process that has the host's network; it listens for nobody but its own canary.
  command.isolation.network = false;
  command.isolation.landlock->connect_tcp = true;
  command.isolation.landlock->bind_any_port = true;
  command.limits = {{RLIMIT_NOFILE, kMaxDescriptors}};
  return command;
}

sys::Command vsockd_command(const std::filesystem::path& program, const config::VmPlan& plan,
                            const config::VmPaths& paths, const VsockdFds& fds) {
  sys::Command command{.program = program, .environment = plain_environment()};
  command.args = {
      "--socket-fd",
      "3",
      "--base",
      paths.guest_base.string(),
      "--base-fd",
      "4",
      "--control-fd",
      "5",
      "--ports",
      fmt::format("{}={},{}", wire::kDoorPort, paths.door_socket.string(), wire::kHelloPort),
      "--cid",
      std::to_string(plan.cid),
      "--once"};
  command.descriptors = {
      {1, fds.log}, {2, fds.log}, {3, fds.vhost}, {4, fds.base}, {5, fds.control}};
  sys::FileView view = view_of(program);
  // To connect in them; it makes no file.
  view.paths.push_back({.path = paths.door});
  view.paths.push_back({.path = paths.guest});
  command.isolation = sys::apart(std::move(view));
  command.limits = {{RLIMIT_NOFILE, kMaxDescriptors}};
  return command;
}

sys::Command fsguard_command(const std::filesystem::path& program, const FsguardFds& fds) {
  sys::Command command{.program = program, .environment = plain_environment()};
  command.descriptors = {{1, fds.log}, {2, fds.log}, {3, fds.qemu}, {4, fds.server}};
  command.isolation = sys::apart(view_of(program));
  command.limits = {{RLIMIT_NOFILE, kMaxDescriptors}};
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

std::string process_name(std::string_view kind, std::string_view tag) {
  return tag == config::kWorkspaceTag ? std::string(kind) : fmt::format("{}-{}", kind, tag);
}

std::string_view process_kind(std::string_view name) { return name.substr(0, name.find('-')); }

namespace {
std::optional<sys::Visible::Overlay> overlay_of(const config::Share& share) {
  if (share.overlay.empty()) return std::nullopt;
  return sys::Visible::Overlay{.upper = share.overlay / "upper", .work = share.overlay / "work"};
}
}  // namespace

sys::Command virtiofsd_command(const config::VmPlan& plan, const config::Share& share,
                               const ShareIds& ids, int listener, int log) {
  sys::Command command{.program = plan.virtiofsd, .environment = plain_environment()};
  command.args = {"--fd=3", "-f",
                  "-o",     "sandbox=namespace",
                  "-o",     "cache=auto",
                  "-o",     "no_xattr",
                  "-o",     std::string("source=") + kShareInside};
  command.descriptors = {{1, log}, {2, log}, {3, listener}};
  sys::FileView view = view_of(plan.virtiofsd);
  // Pinned: another guest that shares a folder above it cannot lead us elsewhere.
  view.paths.push_back({.path = share.host,
                        .access = share.read_only ? Access::read : Access::write,
                        .pinned = true,
                        .inside = kShareInside,
                        .guarded = share.guarded,
                        .overlay = overlay_of(share)});
  view.empty_dirs = {"/run"};
  view.proc = sys::FileView::Proc::
      whole;  // it reads the host's limit of open files, and mounts its own later
  command.isolation = sys::apart(std::move(view));
  command.isolation.uid_map = id_map(ids.user.uid, ids.uids);
  command.isolation.gid_map = id_map(ids.user.gid, ids.gids);
  // It changes its root once more, to the folder alone, which a Landlock domain may not.
  command.isolation.landlock.reset();
  command.filter = sys::SpawnFilter::file_server;
  return command;
}

sys::Command qemu_command(const config::VmPlan& plan, const MachineFiles& files,
                          const QemuFds& fds) {
  sys::Command command{.program = plan.qemu,
                       .args = qemu::qemu_args(plan),
                       .environment = plain_environment(),
                       .filter = sys::SpawnFilter::descriptors_only};
  command.descriptors = {{1, fds.log},
                         {2, fds.log},
                         {qemu::kQmpFd, fds.qmp},
                         {qemu::kConsoleFd, fds.console},
                         {qemu::kDiskFd, files.disk.get()},
                         {qemu::kVsockFd, fds.vsock}};
  if (!plan.direct) {
    command.descriptors[qemu::kFirmwareCodeFd] = files.firmware_code.get();
    command.descriptors[qemu::kFirmwareVarsFd] = files.firmware_vars.get();
    command.descriptors[qemu::kSeedFd] = files.seed.get();
  }
  if (plan.backing) command.descriptors[qemu::kBackingFd] = files.backing.get();
  if (plan.tools && !plan.direct) command.descriptors[qemu::kToolsFd] = files.tools.get();
  for (std::size_t i = 0; i < fds.shares.size(); ++i)
    command.descriptors[qemu::kShareFd + static_cast<int>(i)] = fds.shares[i];
  sys::FileView view = view_of(plan.qemu);
  // Through /proc/self/fd a read-only descriptor could be opened for writing.
  view.proc = sys::FileView::Proc::none;
  for (const char* data : {"/usr/share/qemu", "/usr/share/seabios"})  // option ROMs
    view.paths.push_back({.path = data, .optional = true});
  if (plan.direct) {  // QEMU opens them by name, to read
    view.paths.push_back({.path = plan.direct->kernel});
    view.paths.push_back({.path = plan.direct->initrd});
  }
  if (plan.accelerator == config::Accelerator::kvm)
    view.paths.push_back({.path = "/dev/kvm", .access = Access::device});
  command.isolation = sys::apart(std::move(view));
  command.limits = {{RLIMIT_NOFILE, kMaxDescriptors}};
  return command;
}

}  // namespace pinhole::supervisor
