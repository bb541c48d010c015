// SPDX-License-Identifier: Apache-2.0
// What crashes left behind, and who holds what a start needs.
#pragma once

#include <span>

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr std::span<const Failure* const> kLeftovers = {};

}  // namespace pinhole::failures
