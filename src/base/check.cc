// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace pinhole {

void check_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "pinhole: internal error: %s does not hold (%s:%d)\n", expression, file,
               line);
  std::abort();
}

}  // namespace pinhole
