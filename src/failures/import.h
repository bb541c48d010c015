// SPDX-License-Identifier: Apache-2.0
// Importing a disk image.
#pragma once

#include <span>

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr std::span<const Failure* const> kImport = {};

}  // namespace pinhole::failures
