// SPDX-License-Identifier: Apache-2.0
#include "preflight/doctor.h"

#include "base/strings.h"
#include "preflight/subordinate_ids.h"
#include "preflight/tools.h"
#include "qemu/firmware.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/user.h"

namespace pinhole::preflight {
namespace {

/// What the checks look at, found out once.
struct Host {
  const config::Paths& paths;
  Result<sys::HostConfinement> confinement = sys::probe_host_confinement();
};

Diagnosis from(const Result<std::filesystem::path>& found) {
  if (found) return {.finding = found->string()};
  return {
      .severity = Severity::problem, .finding = found.error().message, .fix = found.error().fix};
}

Diagnosis qemu(const Host&) { return from(find_qemu()); }
Diagnosis qemu_img(const Host&) { return from(find_qemu_img()); }
Diagnosis virtiofsd(const Host&) { return from(find_virtiofsd()); }

Diagnosis firmware(const Host&) {
  const auto found = qemu::find_firmware(qemu::descriptor_folders());
  if (found) return {.finding = found->code.string()};
  return {
      .severity = Severity::problem, .finding = found.error().message, .fix = found.error().fix};
}

bool setting_is(const char* path, std::string_view value) {
  const auto text = sys::read_file(path, 64);
  return text && trim(*text) == value;
}

/// The three ways in which distributions switch user namespaces off.
std::string how_to_allow_namespaces() {
  if (setting_is("/proc/sys/kernel/unprivileged_userns_clone", "0"))
    return "sudo sysctl -w kernel.unprivileged_userns_clone=1";
  if (setting_is("/proc/sys/user/max_user_namespaces", "0"))
    return "sudo sysctl -w user.max_user_namespaces=15000";
  if (setting_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
    return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
  return "in a container, allow the system calls clone, unshare and mount (a seccomp profile)";
}

Diagnosis namespaces(const Host& host) {
  if (!host.confinement)
    return {.severity = Severity::problem, .finding = host.confinement.error().message};
  if (host.confinement->namespaces)
    return {.finding = "user, mount, network, IPC and PID namespaces work"};
  return {.severity = Severity::problem,
          .finding = "refused: " + host.confinement->namespaces_problem,
          .fix = how_to_allow_namespaces()};
}

Diagnosis landlock(const Host&) {
  const int abi = sys::landlock_abi();
  if (abi > 0) return {.finding = fmt::format("ABI {}", abi)};
  return {.severity = Severity::weaker,
          .finding = "this kernel has none, or it is switched off",
          .fix = "boot with lsm=landlock,… (Linux 5.13 or newer)"};
}

Diagnosis seccomp(const Host& host) {
  if (host.confinement && host.confinement->seccomp) return {.finding = "filters work"};
  return {.severity = Severity::weaker, .finding = "this kernel has no filters"};
}

Diagnosis rating(const Host& host) {
  if (!host.confinement)
    return {.severity = Severity::problem, .finding = "unknown: see user namespaces"};
  const sys::Confinement confinement = sys::rate(*host.confinement);
  Diagnosis out{.finding = std::string(sys::to_string(confinement.rating))};
  if (confinement.rating != sys::Rating::full) out.severity = Severity::weaker;
  for (const std::string& what : confinement.missing) out.finding += "; " + what;
  return out;
}

Diagnosis subordinate_ids(const Host&) {
  const auto user = sys::current_user();
  if (!user) return {.severity = Severity::problem, .finding = user.error().message};
  const auto ids = check_subordinate_ids(*user);
  if (!ids) {
    return {.severity = Severity::problem, .finding = ids.error().message, .fix = ids.error().fix};
  }
  return {.finding = fmt::format("{} user ids from {}, {} group ids from {}", ids->uids.count,
                                 ids->uids.first, ids->gids.count, ids->gids.first)};
}

Diagnosis space(const Host& host) {
  constexpr std::uint64_t kComfortable = std::uint64_t{2} << 30;
  const auto free = sys::free_space(host.paths.state);
  if (!free) return {.severity = Severity::problem, .finding = free.error().message};
  Diagnosis out{.finding = fmt::format("{} free for VMs in {}", format_size(*free),
                                       host.paths.state.string())};
  if (*free < kComfortable) {
    out.severity = Severity::problem;
    out.fix = "make room (2 GiB at least), or set XDG_STATE_HOME to a larger file system";
  }
  return out;
}

struct CheckRow {
  std::string_view name;
  Diagnosis (*run)(const Host& host);
};
constexpr CheckRow kChecks[] = {
    {"QEMU", qemu},
    {"qemu-img", qemu_img},
    {"virtiofsd", virtiofsd},
    {"EFI firmware", firmware},
    {"user namespaces", namespaces},
    {"subordinate ids", subordinate_ids},
    {"Landlock", landlock},
    {"seccomp", seccomp},
    {"confinement", rating},
    {"disk space", space},
};

}  // namespace

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::ok:
      return "ok";
    case Severity::weaker:
      return "weaker";
    case Severity::problem:
      return "problem";
  }
  return "";
}

std::vector<Diagnosis> examine_host(const config::Paths& paths) {
  const Host host{.paths = paths};
  std::vector<Diagnosis> out;
  for (const CheckRow& row : kChecks) {
    out.push_back(row.run(host));
    out.back().name = row.name;
  }
  return out;
}

}  // namespace pinhole::preflight
