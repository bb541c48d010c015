// SPDX-License-Identifier: Apache-2.0
// What a supervisor does for a VM's PEP, and one that stands alone does for itself at its start: the
// secrets' values read, their placeholders told.
#pragma once

#include <filesystem>

#include "base/error.h"
#include "secret/vault.h"

namespace pinhole::pep {

/// Reads each secret from its source; a "cmd:" is run and waited for. One that cannot be read is a
/// warning in the log, and requests that need it get `secret_missing`. Before the process is sealed.
void read_values(secret::Vault& vault);

/// As {"NAME":"placeholder",…} and a line end, mode 0600; a reader sees the whole file or the one
/// before.
Result<void> write_placeholders(const secret::Vault& vault, const std::filesystem::path& file);

}  // namespace pinhole::pep
