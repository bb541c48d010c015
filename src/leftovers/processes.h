// SPDX-License-Identifier: Apache-2.0
// Recorded processes: which of them live, and their end.
#pragma once

#include <optional>
#include <vector>

#include "base/error.h"
#include "config/boot_record.h"
#include "config/paths.h"

namespace pinhole::leftovers {

/// The VM's record; nothing where there is none, or none that can be read (the host lost its power).
std::optional<config::BootRecord> read_record(const config::VmPaths& vm);

/// Of those that the record names, in this boot of the host and as seen from here.
std::vector<config::RecordedProcess> living(const config::BootRecord& record);

/// Who has the VM's lock: its supervisor, or the `up` that prepares it.
const config::RecordedProcess* living_owner(const config::BootRecord& record);

/// SIGKILL to that very process, and its end awaited; also when it is stopped. Nothing to do is success.
Result<void> end_process(const config::RecordedProcess& process, std::string_view vm);

/// "qemu (process 42), pep (process 43)"
std::string words_for(const std::vector<config::RecordedProcess>& processes);

}  // namespace pinhole::leftovers
