// SPDX-License-Identifier: Apache-2.0
// What both directions hold themselves to.
#pragma once

#include <cstddef>
#include <string>

#include "tar/tar.h"

namespace pinhole::tar {

inline constexpr int kDepth = 128;               // folders below the top
inline constexpr std::size_t kNameBytes = 255;   // NAME_MAX
inline constexpr std::size_t kPathBytes = 4095;  // PATH_MAX without its end
inline constexpr std::size_t kTold = 20;         // of what was left out

void leave_out(Tally& tally, const std::string& name);

}  // namespace pinhole::tar
