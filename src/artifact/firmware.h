// SPDX-License-Identifier: Apache-2.0
// UEFI firmware in flash and its variable store (UEFI Platform Initialization Specification 1.7, volume 3, 3.2.1; the store's own
// header as EDK II has it, MdeModulePkg/Include/Guid/VariableFormat.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "artifact/source.h"
#include "base/error.h"

namespace pinhole::artifact {

/// What is wrong with firmware code: the file is firmware volumes, one behind the other, with code at its end.
std::optional<std::string> firmware_fault(const Source& source);

/// What is wrong with a variable store beside the template of its firmware, which holds.
std::optional<std::string> variable_store_fault(const Source& store, const Source& original);
/// And with the template itself.
std::optional<std::string> variable_template_fault(const Source& source);

/// Both files that a firmware consists of.
Result<void> check_firmware(const std::filesystem::path& code,
                            const std::filesystem::path& vars_template);

/// A machine's store, which is there; `vm` names it in the fix.
Result<void> check_variable_store(const std::filesystem::path& store,
                                  const std::filesystem::path& vars_template,
                                  const std::string& vm);

}  // namespace pinhole::artifact
