// SPDX-License-Identifier: Apache-2.0
#include "sys/host_confinement.h"

#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>

namespace pinhole::sys {
namespace {

constexpr int kLandlockTcp = 4, kLandlockScopes = 6;

/// PR_GET_SECCOMP answers at all only where the kernel has it; filters are asked for by their mode.
bool has_seccomp_filters() {
  return ::prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, nullptr) == -1 && errno == EFAULT;
}

}  // namespace

HostConfinement probe_host_confinement() {
  HostConfinement host{.landlock_abi = landlock_abi(), .seccomp = has_seccomp_filters()};
  const FileView view{.paths = runtime_libraries()};
  Command command{
      .program = "/bin/true",
      .isolation = {.user = true, .network = true, .ipc = true, .pid = true, .root = view}};
  command.isolation.root->paths.push_back(
      {.path = command.program, .access = Visible::Access::execute});
  const auto tried = run(std::move(command), {.time = std::chrono::seconds(10)});
  host.namespaces = tried && tried->status.ok();
  if (!tried) host.namespaces_problem = tried.error().message;
  if (tried && !host.namespaces) host.namespaces_problem = "a trial " + tried->status.text();
  return host;
}

std::string_view to_string(Rating rating) {
  switch (rating) {
    case Rating::full:
      return "full";
    case Rating::reduced:
      return "reduced";
    case Rating::weak:
      return "weak";
  }
  return "";
}

Confinement rate(const HostConfinement& host) {
  Confinement out{.rating = Rating::full};
  const auto miss = [&out](Rating at_best, std::string what) {
    out.rating = std::max(out.rating, at_best);
    out.missing.push_back(std::move(what));
  };
  if (!host.namespaces) {
    miss(Rating::reduced,
         "no user namespaces: vsockd could connect to unix sockets that have a path (an "
         "ssh-agent's, "
         "docker's), processes see that others exist, and there is no workspace");
  }
  if (!host.seccomp) miss(Rating::weak, "no seccomp filters: every system call is open");
  if (host.landlock_abi == 0) {
    miss(host.namespaces ? Rating::reduced : Rating::weak,
         host.namespaces ? "no Landlock: files are kept apart by namespaces alone"
                         : "no Landlock: every file of the user's is in reach");
  } else if (!host.namespaces && host.landlock_abi < kLandlockTcp) {
    // With namespaces, what older Landlocks cannot restrict is out of reach anyway.
    miss(Rating::weak, "Landlock does not restrict TCP here (needs Linux 6.7)");
  } else if (!host.namespaces && host.landlock_abi < kLandlockScopes) {
    miss(Rating::reduced,
         "Landlock does not restrict signals and abstract sockets here (needs Linux 6.12)");
  }
  return out;
}

Isolation available(Isolation wanted, const HostConfinement& host) {
  if (host.namespaces) return wanted;
  return {.landlock = std::move(wanted.landlock)};
}

}  // namespace pinhole::sys
