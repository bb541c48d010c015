// SPDX-License-Identifier: Apache-2.0
// The kernel: what it lets an ordinary user confine processes with, and the ids that a workspace needs.
#include "doctor/kernel.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "doctor/subordinate.h"
#include "doctor/tools.h"
#include "failures/host.h"
#include "sys/host_confinement.h"
#include "sys/landlock.h"

namespace pinhole::doctor {
namespace {

using failures::told;

/// The settings by which distributions and administrators switch user namespaces off, or a kind that goes with them.
struct Setting {
  std::string_view name, forbids, wanted;
};
constexpr Setting kSettings[] = {
    {"kernel.unprivileged_userns_clone", "0", "1"},              // Debian, Arch's hardened kernel
    {"user.max_user_namespaces", "0", "15000"},                  // RHEL 7, hardening guides
    {"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},  // Ubuntu 23.10 and newer
    {"user.max_mnt_namespaces", "0", "15000"},
    {"user.max_pid_namespaces", "0", "15000"},
    {"user.max_net_namespaces", "0", "15000"},
    {"user.max_ipc_namespaces", "0", "15000"},
};

/// In a chroot(2), no mount of this process is at "/" (user_namespaces(7): EPERM).
bool in_chroot(const Facts& facts) {
  const std::string mounts = text_in(facts, "proc/self/mountinfo");
  if (mounts.empty()) return false;
  return std::ranges::none_of(split(mounts, '\n'), [](std::string_view line) {
    const auto fields = split(line, ' ');  // proc(5): the fifth is the mount point
    return fields.size() > 4 && fields[4] == "/";
  });
}

Findings namespaces(const Facts& facts) {
  const auto host = sys::probe_host_confinement();
  if (!host) return {problem(told(failures::kConfinementUnknown, {{"why", host.error().message}}))};
  if (host->namespaces) return {fine("user, mount, network, IPC and PID namespaces work")};
  return {namespaces_diagnosis(facts, host->namespaces_problem)};
}

bool may_not_gain_privileges(const Facts& facts) {
  return text_in(facts, "proc/self/status").contains("\nNoNewPrivs:\t1\n");
}

std::vector<fs::path> program_folders(const Facts& facts) {
  std::vector<fs::path> out;
  const auto path = facts.environment.find("PATH");
  const std::string all =
      (path == facts.environment.end() ? "/usr/bin:/bin" : path->second) + ":/usr/sbin:/sbin";
  for (const std::string_view folder : split(all, ':'))
    if (folder.starts_with('/')) out.emplace_back(folder);
  return out;
}

Findings subordinate_ids(const Facts& facts) {
  if (facts.user.uid == 0) return {fine("not needed by root, which runs no VMs")};
  Findings found = id_map_tools(facts, program_folders(facts));
  const std::string subuid = text_in(facts, "etc/subuid"), subgid = text_in(facts, "etc/subgid");
  if (auto wrong = grant_problem(subuid, subgid, facts.user)) found.push_back(*std::move(wrong));
  if (!found.empty()) return found;
  if (may_not_gain_privileges(facts)) return {problem(told(failures::kNoNewPrivileges))};
  const auto host = sys::probe_host_confinement();
  if (host && host->namespaces)  // else that is the finding, in its own row
    if (auto refused = map_ids(facts.user)) return {problem(*std::move(refused))};
  const auto uids = sys::subordinate_ids(facts.root / "etc/subuid", facts.user);
  const auto gids = sys::subordinate_ids(facts.root / "etc/subgid", facts.user);
  if (!uids || !gids) return {fine("granted")};
  return {fine(fmt::format("{} user ids from {}, {} group ids from {}", uids->count, uids->first,
                           gids->count, gids->first))};
}

Findings landlock(const Facts& facts) {
  const int abi = sys::landlock_abi();
  constexpr int kTcp = 4, kScopes = 6;
  if (abi == 0) {
    const std::string lsm = text_in(facts, "sys/kernel/security/lsm");
    return {weaker(told(failures::kNoLandlock, {{"lsm", lsm.empty() ? "capability" : lsm}}))};
  }
  return {fine(fmt::format("ABI {}{}", abi,
                           abi >= kScopes ? ""
                           : abi >= kTcp  ? " (abstract sockets and signals: from Linux 6.12)"
                                          : " (TCP: from Linux 6.7)"))};
}

Findings seccomp(const Facts&) {
  const auto host = sys::probe_host_confinement();
  if (host && host->seccomp) return {fine("filters work")};
  return {weaker(told(failures::kNoSeccomp))};
}

Findings rating(const Facts&) {
  const auto host = sys::probe_host_confinement();
  if (!host) return {problem(told(failures::kConfinementUnknown, {{"why", host.error().message}}))};
  const sys::Confinement confinement = sys::rate(*host);
  const std::string rating(sys::to_string(confinement.rating));
  if (confinement.rating == sys::Rating::full) {
    std::string text = rating;
    for (const std::string& what : confinement.missing) text += "; " + what;
    return {fine(text)};
  }
  std::string missing;
  for (const std::string& what : confinement.missing)
    missing += (missing.empty() ? "" : "; ") + what;
  return {weaker(told(failures::kConfinementWeaker, {{"rating", rating}, {"missing", missing}}))};
}

constexpr Row kRows[] = {
    {.name = "user namespaces", .run = namespaces, .deadline = std::chrono::seconds(40)},
    {.name = "subordinate ids", .run = subordinate_ids, .deadline = std::chrono::seconds(40)},
    {.name = "Landlock", .run = landlock},
    {.name = "seccomp", .run = seccomp, .deadline = std::chrono::seconds(40)},
    {.name = "confinement", .run = rating, .deadline = std::chrono::seconds(40)},
};

/// What files of users have that this user namespace does not have; root may be one (a container).
constexpr uid_t kNobodyHere = 65534;

/// A setuid bit of root's, or the capability in its place (Fedora, Arch). Of what works in a namespace, the trial tells.
bool gains_privileges(const fs::path& program) {
  struct stat info{};
  if (::stat(program.c_str(), &info) != 0) return false;
  if ((info.st_mode & S_ISUID) != 0 && (info.st_uid == 0 || info.st_uid == kNobodyHere))
    return true;
  return ::getxattr(program.c_str(), "security.capability", nullptr, 0) > 0;
}

bool on_nosuid(const fs::path& program) {
  struct statvfs info{};
  return ::statvfs(program.c_str(), &info) == 0 && (info.f_flag & ST_NOSUID) != 0;
}

}  // namespace

Diagnosis namespaces_diagnosis(const Facts& facts, std::string_view refusal) {
  for (const Setting& setting : kSettings) {
    std::string file = "proc/sys/" + std::string(setting.name);
    std::ranges::replace(file, '.', '/');
    if (text_in(facts, file) != setting.forbids) continue;
    Error error = told(failures::kNamespacesSwitchedOff, {{"setting", std::string(setting.name)},
                                                          {"value", std::string(setting.forbids)},
                                                          {"wanted", std::string(setting.wanted)}});
    error.details.push_back(
        fmt::format("to keep it: echo {}={} | sudo tee /etc/sysctl.d/60-pinhole.conf", setting.name,
                    setting.wanted));
    return problem(std::move(error));
  }
  std::error_code ignored;
  const bool known = fs::exists(facts.root / "proc/self", ignored);
  if (known && !fs::exists(fs::symlink_status(facts.root / "proc/self/ns/user", ignored)))
    return problem(told(failures::kNoNamespacesInKernel));
  if (in_chroot(facts)) return problem(told(failures::kNamespacesInChroot));
  return problem(told(failures::kNamespacesRefused, {{"why", std::string(refusal)}}));
}

std::optional<Error> map_ids(const sys::User& user) {
  const auto uids = sys::subordinate_ids("/etc/subuid", user);
  const auto gids = sys::subordinate_ids("/etc/subgid", user);
  if (!uids || !gids) return std::nullopt;
  sys::FileView view{.paths = sys::runtime_libraries()};
  const fs::path program = "/bin/true";
  view.paths.push_back({.path = program, .access = sys::Visible::Access::execute});
  sys::Isolation isolation = sys::apart(std::move(view));
  isolation.landlock.reset();
  isolation.uid_map = {{.inside = 0, .outside = uids->first, .count = uids->count}};
  isolation.gid_map = {{.inside = 0, .outside = gids->first, .count = gids->count}};
  const auto tried = sys::run({.program = program, .isolation = std::move(isolation)},
                              {.time = std::chrono::seconds(8)});
  if (!tried) return told(failures::kIdMapRefused, {{"why", tried.error().message}});
  if (!tried->status.ok())
    return told(failures::kIdMapRefused, {{"why", "a trial " + tried->status.text()}});
  return std::nullopt;
}

Findings id_map_tools(const Facts& facts, const std::vector<fs::path>& folders) {
  Findings found;
  for (const std::string_view name : {"newuidmap", "newgidmap"}) {
    const auto at = std::ranges::find_if(folders, [&](const fs::path& folder) {
      return ::access((folder / name).c_str(), X_OK) == 0;
    });
    if (at == folders.end()) {
      found.push_back(problem(
          told(failures::kIdMapToolMissing,
               {{"program", std::string(name)}, {"command", install_command(facts, "uidmap")}})));
      return found;  // they come together
    }
    const std::string program = (*at / name).string();
    if (!gains_privileges(program))
      found.push_back(problem(told(failures::kIdMapToolPowerless, {{"program", program}})));
    else if (on_nosuid(program))
      found.push_back(problem(told(failures::kIdMapToolNosuid, {{"program", program}})));
  }
  return found;
}

std::span<const Row> kernel_rows() { return kRows; }

}  // namespace pinhole::doctor
