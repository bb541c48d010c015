// SPDX-License-Identifier: Apache-2.0
#include "vsock/testing/script.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace pinhole::vsock {
namespace {

TEST(MuxerScript, NoHistoryBreaksABound) {
  constexpr int kHistories = 1500;
  std::mt19937 dice(20261123);
  std::vector<std::uint8_t> bytes(2000);
  for (int i = 0; i < kHistories; ++i) {
    for (auto& value : bytes) value = static_cast<std::uint8_t>(dice());
    testing::MuxerScript::run(bytes);
  }
}

}  // namespace
}  // namespace pinhole::vsock
