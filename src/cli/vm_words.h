// SPDX-License-Identifier: Apache-2.0
// What `up` and `run` ask of a VM alike: flags, and the options of its start that they make together
// with the policy files.
#pragma once

#include <string>
#include <vector>

#include "cli/app.h"
#include "config/paths.h"
#include "preflight/prepare.h"

namespace pinhole::cli {

struct VmWords {
  std::string image, disk, memory, user_data, config, trust, accel = "auto", guard, boot;
  std::vector<std::string> policies, shares, caches;
  unsigned cpus = 0;
  bool no_workspace = false, read_only = false, no_config = false, no_capture = false;
  /// Where neither a flag nor a file says: the current folder as the workspace, and an image that suits
  /// what lies in it.
  bool chosen_by_folder = false;
};

/// Those that make sense for every VM.
void add_vm_words(CLI::App& command, VmWords& words);

/// Reads the policy files, finds or builds the image. `flags`: a policy file's text of the session, or
/// nothing. The options have no name yet.
Result<preflight::PrepareOptions> vm_options(const VmWords& words, const std::string& flags,
                                             const config::Paths& paths);

}  // namespace pinhole::cli
