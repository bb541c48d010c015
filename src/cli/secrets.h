// SPDX-License-Identifier: Apache-2.0
// The user's secrets on their way to a VM's PEP, and their placeholders on theirs to the guest.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/vm_access.h"
#include "source/secret_source.h"

namespace pinhole::cli {

/// Reads each secret from its source and gives it to the PEP of the running VM, through the
/// supervisor's socket. One line for each that has no usable value; that is no error.
Result<std::vector<std::string>> give_secrets(const Vm& vm,
                                              std::span<const source::SecretSource> secrets);

/// "NAME=placeholder" for each secret of the VM's plan. Nothing is asked where it has none.
Result<std::vector<std::string>> secret_environment(const Vm& vm);

}  // namespace pinhole::cli
