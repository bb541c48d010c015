// SPDX-License-Identifier: Apache-2.0
// A boot that failed, told: which named failure it is, the likeliest causes in order, and the console's last lines.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "supervisor/boot_stages.h"
#include "supervisor/console_signs.h"

namespace pinhole::supervisor {

struct BootEvidence {
  std::string vm;
  const BootStages& stages;
  const ConsoleSigns& signs;
  bool silent = false;                 // not a byte came from the console
  std::vector<std::string> tail = {};  // its last lines, printable
  std::string workspace = {};          // the host's folder
};

/// For any verdict but `going`.
Error boot_error(BootStages::Verdict verdict, const BootEvidence& evidence);
/// The machine was gone before it was up.
Error early_end_error(const BootEvidence& evidence);
/// A stage that the guest itself says has failed.
Error stage_error(BootStage stage, const std::string& detail, const BootEvidence& evidence);
/// What the user is to hear of a cloud-init stage, whose end it is not: cloud-init's errors, and the guest's failed units.
std::vector<Error> cloud_init_notes(const std::string& vm, const wire::Stage& stage);
/// The kernel panicked; which of the three kinds its own words say.
Error panic_error(const std::string& vm, const ConsoleSigns& signs);

}  // namespace pinhole::supervisor
