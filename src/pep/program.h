// SPDX-License-Identifier: Apache-2.0
// pinhole-pep as a process: from its options to its exit.
#pragma once

#include "base/error.h"
#include "pep/options.h"

namespace pinhole::pep {

/// Runs until SIGTERM, SIGINT or the end of the control socket. What is wrong with the policy or
/// the options is an error before anything was created.
Result<void> run_program(const Options& options);

}  // namespace pinhole::pep
