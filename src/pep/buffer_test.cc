// SPDX-License-Identifier: Apache-2.0
#include "pep/buffer.h"

#include <gtest/gtest.h>

namespace pinhole::pep {
namespace {

TEST(Buffer, FreeingGivesTheMemoryBackAndLeavesAnEmptyString) {
  std::string buffer(100'000, 'x');
  free_buffer(buffer);
  EXPECT_EQ(buffer, "");
  EXPECT_EQ(buffer.capacity(), std::string().capacity());
  buffer = "usable";
  EXPECT_EQ(buffer, "usable");
}

}  // namespace
}  // namespace pinhole::pep
