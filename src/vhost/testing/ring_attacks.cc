// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstring>
#include <functional>
#include <thread>

#include "vhost/testing/attacks.h"

namespace pinhole::vhost::testing {
namespace {

using vsock::Op;
using Until = HostileDriver::Clock::time_point;
constexpr std::uint64_t kPlain = kVersion1Bit;
constexpr std::uint64_t kAll = kVersion1Bit | kIndirectBit | kEventIdxBit;
constexpr std::uint16_t kRingSize = HostileDriver::kRingSize;
constexpr auto kHeader = static_cast<std::uint32_t>(vsock::kHeaderSize);

bool time_left(Until until) { return HostileDriver::Clock::now() < until; }

/// A packet of no connection: its answer makes the device look for a receive buffer.
vsock::PacketHeader stray(const HostileDriver& driver, std::uint32_t port = 1) {
  return driver.header(Op::rw, port, 9);
}

/// Does `act` to the transmit ring, then, with new rings, to the receive ring.
void to_each_ring(HostileDriver& driver, std::uint64_t features,
                  const std::function<void(unsigned ring, std::uint16_t flags)>& act) {
  driver.start(features);
  driver.send(stray(driver));
  act(kTx, 0);
  driver.settle();
  driver.start(features, false);
  act(kRx, kWrite);
  driver.send(stray(driver));
  driver.settle();
}

void descriptor_loop(HostileDriver& driver, Until) {
  for (const std::uint32_t size : {8U, 0U}) {
    to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
      const auto next = static_cast<std::uint16_t>(flags | kNext);
      const std::uint64_t address = driver.scratch(0).address;
      for (const std::uint16_t i : {std::uint16_t{0}, std::uint16_t{1}}) {
        driver.write_descriptor(driver.descriptors(ring), i, address, size, next, i ^ 1);
      }
      driver.offer(ring, 0);
    });
  }
}

void out_of_range_indexes(HostileDriver& driver, Until) {
  for (const std::uint16_t index : {kRingSize, std::uint16_t{0x8000}, std::uint16_t{0xffff}}) {
    to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t) { driver.offer(ring, index); });
    to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
      driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, 8,
                              flags | kNext, index);
      driver.offer(ring, 0);
    });
  }
}

void addresses_outside(HostileDriver& driver, Until) {
  for (const std::uint64_t address : driver.machine().nowhere()) {
    for (const std::uint32_t size : {1U, kHeader, 4096U, 0xffff'ffffU}) {
      to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
        driver.write_descriptor(driver.descriptors(ring), 0, address, size, flags);
        driver.offer(ring, 0);
      });
    }
  }
}

void strange_lengths(HostileDriver& driver, Until) {
  for (const std::uint32_t size :
       {0U, 1U, 43U, 44U, 45U, 0x7fff'ffffU, 0x8000'0000U, 0xffff'ffffU}) {
    to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
      driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, size, flags);
      driver.offer(ring, 0);
    });
  }
}

void available_index_jumps(HostileDriver& driver, Until) {
  for (const int jump : {-1, kRingSize + 1, 0x7fff, 0x8000, -kRingSize}) {
    to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t) {
      driver.set_available(ring, static_cast<std::uint16_t>(driver.available_index(ring) + jump));
    });
  }
}

void same_buffer_again(HostileDriver& driver, Until) {
  to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
    driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, kPageSize,
                            flags);
    for (int i = 0; i < kRingSize / 2; ++i) driver.offer(ring, 0);
  });
}

void indirect_not_offered(HostileDriver& driver, Until) {
  to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
    driver.write_descriptor(driver.scratch(0), 0, driver.scratch(1).address, kPageSize, flags);
    driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, 16, kIndirect);
    driver.offer(ring, 0);
  });
}

void indirect_tables(HostileDriver& driver, Until) {
  struct Table {
    std::uint32_t size;
    std::uint16_t outer;
    std::uint16_t inner;
    std::uint16_t next;
  };
  for (const Table table :
       {Table{16, kIndirect, kIndirect, 0}, Table{16, kIndirect | kNext, 0, 0},
        Table{24, kIndirect, 0, 0}, Table{0, kIndirect, 0, 0},
        Table{16U * (kRingSize + 1U), kIndirect, 0, 0}, Table{0xffff'fff0U, kIndirect, 0, 0},
        Table{32, kIndirect, kNext, 2}, Table{32, kIndirect, kNext, 0xffff},
        Table{16, kIndirect, kNext, 0}, Table{16, kIndirect | kWrite, 0, 0}}) {
    to_each_ring(driver, kAll, [&](unsigned ring, std::uint16_t flags) {
      driver.write_descriptor(driver.scratch(0), 0, driver.scratch(0).address, kHeader,
                              flags | table.inner, table.next);
      driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, table.size,
                              table.outer, 1);
      driver.offer(ring, 0);
    });
  }
  for (const std::uint64_t address : driver.machine().nowhere()) {
    to_each_ring(driver, kAll, [&](unsigned ring, std::uint16_t) {
      driver.write_descriptor(driver.descriptors(ring), 0, address, 32, kIndirect);
      driver.offer(ring, 0);
    });
  }
}

void longest_chains(HostileDriver& driver, Until until) {
  // As long as may be and of no bytes: the most work for the least.
  driver.start(kAll);
  for (std::uint16_t i = 0; i < kRingSize; ++i) {
    const bool last = i + 1 == kRingSize;
    driver.write_descriptor(driver.scratch(0), i, driver.scratch(1).address, 0, last ? 0 : kNext,
                            static_cast<std::uint16_t>(i + 1));
  }
  for (std::uint16_t i = 0; i < kRingSize; ++i) {
    driver.write_descriptor(driver.descriptors(kTx), i, driver.scratch(0).address, kRingSize * 16,
                            kIndirect);
  }
  while (time_left(until)) {
    const auto room = static_cast<std::uint16_t>(
        kRingSize - (driver.available_index(kTx) - driver.used_index(kTx)));
    for (std::uint16_t i = 0; i < room && room <= kRingSize; ++i) driver.offer(kTx, i);
    driver.machine().notify(kTx);
  }
}

void directions_flipped(HostileDriver& driver, Until) {
  to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t flags) {
    driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, kPageSize,
                            flags ^ kWrite);
    driver.offer(ring, 0);
  });
  to_each_ring(driver, kPlain, [&](unsigned ring, std::uint16_t) {
    driver.write_descriptor(driver.descriptors(ring), 0, driver.scratch(0).address, 44,
                            kNext | kWrite, 1);
    driver.write_descriptor(driver.descriptors(ring), 1, driver.scratch(0).address, 44, 0);
    driver.offer(ring, 0);
  });
}

void rings_in_wrong_places(HostileDriver& driver, Until) {
  const auto try_places = [&](const QueuePlace& rx, const QueuePlace& tx) {
    driver.machine().stop();
    driver.machine().start(kPlain, {rx, tx});
    driver.machine().notify(kTx);
  };
  const QueuePlace rx = driver.place(kRx);
  const QueuePlace tx = driver.place(kTx);
  for (const std::uint64_t address : driver.machine().nowhere()) {
    for (auto part : {&QueuePlace::descriptors, &QueuePlace::available, &QueuePlace::used}) {
      QueuePlace bad = tx;
      bad.*part = address;
      try_places(rx, bad);
    }
  }
  for (auto part : {&QueuePlace::descriptors, &QueuePlace::available, &QueuePlace::used}) {
    QueuePlace bad = tx;
    bad.*part += 1;  // not aligned
    try_places(rx, bad);
    bad.*part += kPageSize - 3;  // over the page's end
    try_places(rx, bad);
  }
  for (const int size : {0, 1, 3, 127, 1024, 32768, 65535}) {
    QueuePlace bad = tx;
    bad.size = static_cast<std::uint16_t>(size);
    try_places(rx, bad);
  }
  try_places(tx, tx);
  try_places({tx.size, tx.used, tx.used, tx.used}, {tx.size, tx.used, tx.descriptors, tx.used});
}

void rings_moved_while_used(HostileDriver& driver, Until until) {
  while (time_left(until)) {
    driver.start(kAll);
    for (int i = 0; i < 64 && time_left(until); ++i) {
      driver.send(stray(driver, driver.random(0xffff)));
      if (i % 8 != 0) continue;
      const unsigned ring = driver.random(2);
      QueuePlace place = driver.place(ring);
      const std::uint32_t kind = driver.random(4);
      if (kind == 0) place.available = driver.scratch(0).address;
      if (kind == 1) place.size = static_cast<std::uint16_t>(driver.random(0x10000));
      if (kind == 2) place.used = driver.machine().nowhere().front();
      driver.machine().move_queue(ring, place);
    }
  }
}

void changed_under_the_device(HostileDriver& driver, Until until) {
  driver.start(kAll);
  std::atomic<bool> over = false;
  // Another processor's stores, between the device's reads.
  std::thread other([&] {
    std::mt19937 dice(1);
    const std::uint64_t outside = driver.machine().nowhere().front();
    while (!over) {
      const unsigned ring = dice() % 2;
      const auto slot = static_cast<std::uint16_t>(dice() % kRingSize);
      const std::uint64_t good = driver.buffer(ring, slot).address;
      const auto right = static_cast<std::uint16_t>(ring == kRx ? kWrite : 0);
      driver.write_descriptor(driver.descriptors(ring), slot, dice() % 16 == 0 ? outside : good,
                              dice() % 16 == 0 ? 0xffff'ffff : kPageSize, right);
      driver.write_descriptor(driver.descriptors(ring), slot, good, kPageSize, right);
      std::uint8_t* packet = driver.buffer(kTx, slot).bytes;
      packet[24 + dice() % 4] ^= static_cast<std::uint8_t>(dice());  // len
      packet[30] = static_cast<std::uint8_t>(dice() % 9);            // op
    }
  });
  while (time_left(until)) {
    if (!driver.send(stray(driver, driver.random(8)), driver.random(HostileDriver::kMaxData))) {
      driver.start(kAll);
    }
  }
  over = true;
  other.join();
}

void reset_storm(HostileDriver& driver, Until until) {
  while (time_left(until)) {
    driver.start(driver.random(2) == 0 ? kAll : kPlain);
    for (std::uint32_t i = driver.random(4); i > 0; --i) {
      driver.send(driver.header(Op::request, driver.random(1000)));
    }
    driver.machine().notify(kTx);
    if (driver.random(3) == 0) driver.stop();
  }
}

void strange_features(HostileDriver& driver, Until) {
  for (const std::uint64_t features :
       {std::uint64_t{0}, ~std::uint64_t{0}, kIndirectBit, kEventIdxBit, std::uint64_t{1} << 30,
        kVersion1Bit | 1U << 26, kVersion1Bit | std::uint64_t{1} << 34,
        kVersion1Bit | std::uint64_t{1} << 33}) {
    driver.start(features);
    driver.send(driver.header(Op::request, 7));
    driver.settle();
  }
}

void notification_flood(HostileDriver& driver, Until until) {
  driver.start(kAll);
  while (time_left(until)) {
    for (int i = 0; i < 64; ++i) driver.machine().notify(driver.random(2));
  }
}

void random_rings(HostileDriver& driver, Until until) {
  while (time_left(until)) {
    driver.start(driver.random(2) == 0 ? kAll : kPlain, driver.random(4) != 0);
    for (int step = 0; step < 200 && time_left(until); ++step) {
      const std::uint32_t kind = driver.random(16);
      const Page& page = kind < 6   ? driver.descriptors(kind % 2)
                         : kind < 8 ? driver.scratch(kind % 2)
                                    : driver.buffer(kTx, driver.random(8));
      if (kind < 14) {
        // Mostly flags and small numbers: noise alone goes no further than the first check.
        const std::uint32_t at = driver.random(16 * 16);
        page.bytes[at] = static_cast<std::uint8_t>(driver.random(3) == 0 ? driver.random(256)
                                                                         : driver.random(8));
      } else if (kind == 14) {
        driver.offer(driver.random(2), static_cast<std::uint16_t>(driver.random(kRingSize + 1)));
      } else {
        driver.send(stray(driver, driver.random(3)));
      }
      if (step % 20 == 0) driver.settle(std::chrono::milliseconds(1));
    }
  }
}

constexpr auto kAttacks = std::to_array<Attack>({
    {"descriptor-loop", "descriptors that lead back to themselves", descriptor_loop},
    {"index-out-of-range", "heads and links that are not in the ring", out_of_range_indexes},
    {"address-outside", "buffers outside of RAM, in holes, and over the end of the address space",
     addresses_outside},
    {"strange-lengths", "buffers of no bytes, of too few, of 4 GiB", strange_lengths},
    {"available-jumps", "an available index far ahead or behind", available_index_jumps},
    {"same-buffer-again", "one buffer offered many times at once", same_buffer_again},
    {"indirect-not-offered", "indirect tables that were not agreed on", indirect_not_offered},
    {"indirect-tables", "indirect tables nested, looped, too long, outside of RAM",
     indirect_tables},
    {"longest-chains", "chains as long as may be, of no bytes, without end", longest_chains},
    {"directions-flipped", "writable where readable belongs, and the reverse", directions_flipped},
    {"rings-in-wrong-places", "rings outside of RAM, misaligned, of odd sizes, on top of another",
     rings_in_wrong_places},
    {"rings-moved", "rings set up anew while they are in use", rings_moved_while_used},
    {"changed-under-device", "descriptors and headers that change while they are read",
     changed_under_the_device},
    {"reset-storm", "resets and new drivers without end", reset_storm},
    {"strange-features", "features that were not offered, or not enough", strange_features},
    {"notification-flood", "kicks without anything behind them", notification_flood},
    {"random-rings", "random changes in rings and packets", random_rings},
});

}  // namespace

std::span<const Attack> ring_attacks() { return kAttacks; }

}  // namespace pinhole::vhost::testing
