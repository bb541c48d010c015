// SPDX-License-Identifier: Apache-2.0
// A VM's certificate authority, from outside: pinhole-pep makes it, because this program is light
// and has no cryptography of that kind.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"

namespace pinhole::preflight {

/// Runs `pinhole-pep --create-authority`, which sees this folder and nothing else of the user's.
/// Returns the certificate (PEM).
Result<std::string> make_authority(const std::filesystem::path& folder, const std::string& vm);

}  // namespace pinhole::preflight
