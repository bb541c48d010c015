// SPDX-License-Identifier: Apache-2.0
// What a hostile driver does to the device, by name. None of it may end the device, reach memory
// that is not the guest's, or get past a limit; after each, a driver that starts anew works.
#pragma once

#include <chrono>
#include <span>
#include <string_view>

#include "vhost/testing/hostile_driver.h"

namespace pinhole::vhost::testing {

struct Attack {
  std::string_view name;
  std::string_view what;
  /// Starts the device as it needs it. Attacks that repeat go on until `until`; others do what they
  /// do once, in well under a second.
  void (*act)(HostileDriver& driver, HostileDriver::Clock::time_point until);
};

/// Rings that break the rules, or move while they are used.
std::span<const Attack> ring_attacks();
/// Packets that lie, and floods of them.
std::span<const Attack> packet_attacks();

}  // namespace pinhole::vhost::testing
