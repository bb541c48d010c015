// SPDX-License-Identifier: Apache-2.0
#include "vhost/testing/device_script.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/log.h"

namespace pinhole::vhost::testing {
namespace {

TEST(DeviceScript, NoGuestMemoryHarmsTheDevice) {
  set_log("device_script", LogLevel::error);  // a broken ring each time is what this is about
  constexpr int kScripts = 20'000;
  std::mt19937 dice(20261123);
  std::vector<std::uint8_t> bytes(600);
  for (int i = 0; i < kScripts; ++i) {
    for (auto& value : bytes) value = static_cast<std::uint8_t>(dice());
    run_device_script(bytes);
  }
  set_log("device_script", LogLevel::info);
}

TEST(DeviceScript, NoMessageHarmsTheParser) {
  constexpr int kMessages = 100'000;
  std::mt19937 dice(20261123);
  std::vector<std::uint8_t> bytes(300);
  for (int i = 0; i < kMessages; ++i) {
    for (auto& value : bytes) value = static_cast<std::uint8_t>(dice());
    // The front gates let little else through.
    bytes[0] = static_cast<std::uint8_t>(dice() % 28);
    bytes[1] = bytes[2] = bytes[3] = bytes[5] = bytes[6] = bytes[7] = bytes[10] = bytes[11] = 0;
    bytes[4] = 1;
    bytes[9] = static_cast<std::uint8_t>(dice() % 2);
    run_message(bytes);
  }
}

}  // namespace
}  // namespace pinhole::vhost::testing
