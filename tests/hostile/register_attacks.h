// SPDX-License-Identifier: Apache-2.0
// Attacks that only a guest can make: on the device's registers, and on the ring that QEMU serves.
#pragma once

#include <chrono>
#include <span>
#include <string_view>

#include "pci_machine.h"

namespace pinhole::hostile {

struct RegisterAttack {
  std::string_view name;
  std::string_view what;
  void (*act)(PciMachine& machine, vhost::testing::HostileDriver& driver,
              vhost::testing::HostileDriver::Clock::time_point until);
  /// It makes QEMU 7.2 itself give up (an assertion in object_finalize, from a queue set up again
  /// under a changing status): the attacker's own VM ends, and the supervisor says so. Only on
  /// demand.
  bool ends_qemu = false;
};
std::span<const RegisterAttack> register_attacks();

}  // namespace pinhole::hostile
