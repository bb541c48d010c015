// SPDX-License-Identifier: Apache-2.0
// Before a VM is started again.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/paths.h"

namespace pinhole::leftovers {

/// Deals with what an earlier boot of the VM left, and returns what is to be told of it. Processes of ours that outlived it are
/// ended; half-written files and sockets go. Where a VM runs, nothing is done, and nothing said: preparing it again fails.
/// Errors: `being_started`, `vm_lock_held` (by something that we have no record of, which is left alone), `leftover_stays`.
Result<std::vector<std::string>> clear_for_start(const config::Paths& paths, std::string_view name);

/// What is the matter with a VM whose lock is held, and stays so for a moment, while nobody answers for it: `being_started` by
/// an `up` that is stopped, `vm_silent`, `vm_lock_held`. Nothing where the VM runs, or is free. `answers` asks its supervisor.
std::optional<Error> why_held(const config::VmPaths& vm, std::string_view name,
                              const std::function<bool(const std::filesystem::path&)>& answers);

}  // namespace pinhole::leftovers
