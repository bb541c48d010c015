// SPDX-License-Identifier: Apache-2.0
// What the daemon is told at its start; the defaults are right inside a VM.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "agent/endpoint.h"
#include "wire/hello.h"

namespace pinhole::agent {

struct Settings {
  Endpoint hello = VsockAddress{kHostCid, wire::kHelloPort};
  Endpoint door = VsockAddress{kHostCid, wire::kDoorPort};
  Endpoint operations = VsockAddress{kAnyCid, wire::kAgentPort};
  std::uint16_t proxy_port = 3128;  // on 127.0.0.1; 0: none

  std::filesystem::path run_dir = "/run/pinhole";
  std::filesystem::path workspace = "/workspace";
  /// In front of the system's own files (/etc, /run/cloud-init, /var/lib/cloud), for tests.
  std::filesystem::path root = "/";
  /// This program, started again for what may hang.
  std::string self = "/proc/self/exe";
  bool network_setup = true;
  /// This is the machine that init.h has started: there is no cloud-init, and what the welcome says of
  /// the machine (machine.h) is ours to do.
  bool first_process = false;
  /// The time and the randomness that the host tells are taken over.
  bool set_clock = true;
  bool may_power_off = true;
  /// Programs get cgroups of their own where that is possible.
  bool cgroups = true;

  std::chrono::milliseconds reconnect_first{100};
  std::chrono::milliseconds reconnect_longest{2000};
  std::chrono::milliseconds files_idle{60'000};         // for a copy that does not move
  std::chrono::milliseconds poll{200};                  // for files that others write
  std::chrono::milliseconds workspace_poll{500};        // for a workspace whose device was replaced
  std::chrono::milliseconds cloud_init_limit{300'000};  // software emulation is slow
  std::chrono::milliseconds workspace_limit{60'000};
  std::chrono::milliseconds door_limit{60'000};
};

/// The daemon's command line; see usage(). Errors have exit status 2.
Result<Settings> parse_settings(const std::vector<std::string>& args);

}  // namespace pinhole::agent
