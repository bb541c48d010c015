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

Result<HostConfinement> probe_host_confinement() {
  HostConfinement host{.landlock_abi = landlock_abi(), .seccomp = has_seccomp_filters()};
  const std::filesystem::path program = "/bin/true";
  FileView view{.paths = runtime_libraries()};
  view.paths.push_back({.path = program, .access = Visible::Access::execute});
  Isolation isolation = apart(std::move(view));
  isolation.landlock.reset();
  const auto tried = run({.program = program, .isolation = std::move(isolation)},
                         {.time = std::chrono::seconds(30)});
  host.namespaces = tried && tried->status.ok();
  if (host.namespaces) return host;
  if (!tried && tried.error().code == kRefused) {
    host.namespaces_problem = tried.error().message;
    return host;
  }
  return fail("cannot find out what this host confines processes with: {}",
              tried ? "a trial " + tried->status.text() : tried.error().message);
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
    // Through the socket of the user's own service manager, such a process starts whatever it likes.
    miss(
        Rating::weak,
        "no user namespaces: vsockd could connect to unix sockets that have a path (the session "
        "bus, an ssh-agent, docker's), processes see that others exist, and there is no workspace");
  }
  if (!host.seccomp) miss(Rating::weak, "no seccomp filters: every system call is open");
  if (host.landlock_abi == 0) {
    miss(Rating::reduced, host.namespaces ? "no Landlock: files are kept apart by namespaces alone"
                                          : "no Landlock: every file of the user's is in reach");
  } else if (!host.namespaces && host.landlock_abi < kLandlockTcp) {
    // With namespaces, what older Landlocks cannot restrict is out of reach anyway.
    miss(Rating::weak, "Landlock does not restrict TCP here (needs Linux 6.7)");
  } else if (!host.namespaces && host.landlock_abi < kLandlockScopes) {
    miss(Rating::weak,
         "Landlock does not restrict signals and abstract sockets here (needs Linux 6.12)");
  }
  return out;
}

Isolation apart(FileView view) {
  return {.user = true,
          .network = true,
          .ipc = true,
          .pid = true,
          .root = view,
          .landlock = LandlockRules{.view = std::move(view)}};
}

Result<Isolation> available(Isolation wanted, const HostConfinement& host) {
  if (host.namespaces) return wanted;
  const bool elsewhere =
      wanted.root && std::ranges::any_of(wanted.root->paths, [](const Visible& visible) {
        return !visible.inside.empty() || visible.overlay;
      });
  if (!wanted.uid_map.empty() || elsewhere || !wanted.landlock)
    return fail("this host refuses user namespaces, and this process is not started without");
  return Isolation{.landlock = std::move(wanted.landlock)};
}

Result<Isolation> available_here(Isolation wanted) {
  PINHOLE_TRY(const HostConfinement host, probe_host_confinement());
  return available(std::move(wanted), host);
}

}  // namespace pinhole::sys
