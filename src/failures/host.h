// SPDX-License-Identifier: Apache-2.0
// The host: what doctor finds.
#pragma once

#include <span>

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr std::span<const Failure* const> kHost = {};

}  // namespace pinhole::failures
