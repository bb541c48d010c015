// SPDX-License-Identifier: Apache-2.0
// What this host has and lacks for running VMs: a table of checks, each with the fix for what it finds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/paths.h"

namespace pinhole::preflight {

enum class Severity {
  ok,
  weaker,   // VMs run, with less confinement or less speed
  problem,  // VMs do not run, or not with everything
};
std::string_view to_string(Severity severity);

struct Diagnosis {
  std::string name;
  Severity severity = Severity::ok;
  std::string finding;
  std::string fix = {};  // a command, where there is one
};

/// Runs every check; some start short-lived processes.
std::vector<Diagnosis> examine_host(const config::Paths& paths);

}  // namespace pinhole::preflight
