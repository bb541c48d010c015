// SPDX-License-Identifier: Apache-2.0
#include "register_attacks.h"

namespace pinhole::hostile {
namespace {

using vhost::testing::HostileDriver;
using Until = HostileDriver::Clock::time_point;

bool time_left(Until until) { return HostileDriver::Clock::now() < until; }

void random_registers(PciMachine& machine, HostileDriver& driver, Until until) {
  while (time_left(until)) {
    driver.start();
    for (int i = 0; i < 200 && time_left(until); ++i) {
      const std::uint32_t offset = driver.random(56 / 4) * 4;
      const std::uint32_t value = driver.random(2) == 0 ? driver.random(8) : driver.random(~0U);
      switch (driver.random(3)) {
        case 0:
          machine.write8(offset + driver.random(4), static_cast<std::uint8_t>(value));
          break;
        case 1:
          machine.write16(offset + driver.random(2) * 2, static_cast<std::uint16_t>(value));
          break;
        default:
          machine.write32(offset, value);
      }
      if (driver.random(8) == 0)
        driver.send(driver.header(vsock::Op::request, 1 + driver.random(9)));
      if (driver.random(8) == 0) machine.notify(driver.random(PciMachine::kQueues));
    }
  }
}

void event_ring(PciMachine& machine, HostileDriver& driver, Until until) {
  while (time_left(until)) {
    driver.start();
    // In the scratch pages: descriptors that loop and lead nowhere, indexes that jump.
    for (std::size_t i = 0; i < 256; ++i) {
      driver.scratch(0).bytes[i] = static_cast<std::uint8_t>(driver.random(256));
      driver.scratch(1).bytes[i] = static_cast<std::uint8_t>(driver.random(4));
    }
    machine.place_queue(2,
                        {.size = static_cast<std::uint16_t>(1U << driver.random(8)),
                         .descriptors = driver.scratch(0).address,
                         .available = driver.scratch(1).address,
                         .used = driver.scratch(2).address},
                        true);
    for (int i = 0; i < 16; ++i) machine.notify(2);
    driver.send(driver.header(vsock::Op::request, 5));
    driver.settle(std::chrono::milliseconds(2));
  }
}

void status_out_of_order(PciMachine& machine, HostileDriver& driver, Until until) {
  constexpr std::uint32_t kStatus = 20;
  while (time_left(until)) {
    driver.start(vhost::testing::kVersion1Bit, driver.random(2) == 0);
    for (int i = 0; i < 16; ++i) {
      machine.write8(kStatus, static_cast<std::uint8_t>(driver.random(256)));
      if (driver.random(4) == 0) {
        machine.place_queue(driver.random(2), driver.place(driver.random(2)),
                            driver.random(2) == 0);
      }
      machine.notify(driver.random(PciMachine::kQueues));
    }
  }
}

constexpr auto kAttacks = std::to_array<RegisterAttack>({
    {"random-registers", "random writes to the device's registers while it runs", random_registers,
     true},
    {"event-ring", "noise in the third ring, which QEMU itself serves", event_ring},
    {"status-out-of-order", "a status that goes back and forth", status_out_of_order, true},
});

}  // namespace

std::span<const RegisterAttack> register_attacks() { return kAttacks; }

}  // namespace pinhole::hostile
