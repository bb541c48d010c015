// SPDX-License-Identifier: Apache-2.0
// From the firmware's first instruction to a machine that is up, and what ends it later.
#pragma once

#include <span>

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr std::span<const Failure* const> kBoot = {};

}  // namespace pinhole::failures
