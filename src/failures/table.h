// SPDX-License-Identifier: Apache-2.0
// All named failures, by where they show.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "failures/failure.h"

namespace pinhole::failures {

struct Area {
  std::string_view title;
  std::span<const Failure* const> failures;
};
std::span<const Area> areas();

/// By code; nothing where there is none.
const Failure* find(std::string_view code);

/// docs/troubleshooting.md, whole.
std::string markdown();

}  // namespace pinhole::failures
