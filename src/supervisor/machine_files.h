// SPDX-License-Identifier: Apache-2.0
// What QEMU works on, opened by us: QEMU is given descriptors and no path, so that what was checked is what is used,
// and so that its confinement needs neither open nor connect for them.
#pragma once

#include "base/error.h"
#include "base/fd.h"
#include "config/paths.h"
#include "config/vm_plan.h"

namespace pinhole::supervisor {

struct MachineFiles {
  Fd firmware_code;  // read-only; this, the next and the seed: none for a direct boot
  Fd firmware_vars;
  Fd disk;
  Fd backing;  // read-only; none without an overlay
  Fd seed;     // read-only
  Fd tools;    // read-only; none where the image has the agent
};
Result<MachineFiles> open_machine_files(const config::VmPlan& plan, const config::VmPaths& paths);

/// For virtiofsd, which takes only a socket that listens: with QEMU's end of it already connected. The path is gone
/// again: nobody else connects.
struct ListenerAndClient {
  Fd listener;
  Fd client;
};
Result<ListenerAndClient> listen_and_connect(const std::filesystem::path& path);

/// A process that was broken into may have shut the listening socket that it shares with us (shutdown(2)), for good.
/// Then there is a new one at `path`; one that works stays, with whoever waits in it.
Result<void> renew_if_shut(Fd& listener, const std::filesystem::path& path);

}  // namespace pinhole::supervisor
