// SPDX-License-Identifier: Apache-2.0
// The subcommands of pinhole policy, one file each.
#pragma once

#include "cli/app.h"

namespace pinhole::cli {

void add_policy_check(Commands& commands, CLI::App& parent);
void add_policy_explain(Commands& commands, CLI::App& parent);
void add_policy_reload(Commands& commands, CLI::App& parent);
void add_policy_test(Commands& commands, CLI::App& parent);

}  // namespace pinhole::cli
