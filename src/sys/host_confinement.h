// SPDX-License-Identifier: Apache-2.0
// What this host lets an ordinary user confine a process with, and how good that is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sys/process.h"

namespace pinhole::sys {

struct HostConfinement {
  /// User, mount, network, IPC and PID namespaces with a root of their own; tried, not guessed.
  bool namespaces = false;
  std::string namespaces_problem = {};  // why not
  int landlock_abi = 0;
  bool seccomp = false;
};
/// Starts one short-lived process. What is no refusal (no memory, no descriptors, too many processes) is an error: a
/// moment's trouble must not lower how processes are confined.
Result<HostConfinement> probe_host_confinement();

enum class Rating {
  full,     // nothing is missing
  reduced,  // Landlock, the second of two independent walls, is missing
  weak,     // a process that is broken into has most of the user's rights
};
std::string_view to_string(Rating rating);

struct Confinement {
  Rating rating = Rating::weak;
  /// What is missing, and what follows from it: one sentence each.
  std::vector<std::string> missing = {};
};
Confinement rate(const HostConfinement& host);

/// All of it at once: namespaces with `view` as root, and Landlock with the same.
Isolation apart(FileView view);

/// `wanted` without what the host refuses. An error where that makes no sense: with mapped ids, or files that are to be
/// seen elsewhere than they are.
Result<Isolation> available(Isolation wanted, const HostConfinement& host);
/// The same, having asked the host.
Result<Isolation> available_here(Isolation wanted);

}  // namespace pinhole::sys
