// SPDX-License-Identifier: Apache-2.0
// A driver that writes its rings itself, over any machine that has the device: the PCI device as the
// guest's root sees it (tests/hostile), or a back-end of this process's own (FakeMachine). Attacks
// are written once, against this.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "vsock/packet.h"

namespace pinhole::vhost::testing {

inline constexpr std::size_t kPageSize = 4096;
inline constexpr unsigned kRx = 0;
inline constexpr unsigned kTx = 1;

// virtio 1.2, chapter 6 and 2.7.5
inline constexpr std::uint64_t kIndirectBit = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kEventIdxBit = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kVersion1Bit = std::uint64_t{1} << 32;
inline constexpr std::uint16_t kNext = 1;
inline constexpr std::uint16_t kWrite = 2;
inline constexpr std::uint16_t kIndirect = 4;

/// One page of guest memory: where we write it, where the device finds it.
struct Page {
  std::uint8_t* bytes = nullptr;
  std::uint64_t address = 0;
};

/// Where a ring is said to be, in guest-physical addresses; anything at all.
struct QueuePlace {
  std::uint16_t size = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;
};

class Machine {
 public:
  virtual ~Machine() = default;
  /// Resets the device, then starts it with these features and both rings as told. Nothing is
  /// checked here; a device that refuses is left as it is.
  virtual void start(std::uint64_t features, const std::array<QueuePlace, 2>& queues) = 0;
  virtual void stop() = 0;
  /// Tells where one ring is again, while the device runs.
  virtual void move_queue(unsigned ring, const QueuePlace& place) = 0;
  virtual void notify(unsigned ring) = 0;
  /// Memory of our own, at least HostileDriver::kPages. No two pages need be neighbours.
  [[nodiscard]] virtual std::span<const Page> pages() const = 0;
  /// Guest-physical addresses without memory behind them: holes, registers, edges.
  [[nodiscard]] virtual std::vector<std::uint64_t> nowhere() const = 0;
};

class HostileDriver {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint16_t kRingSize = 128;  // what QEMU has for this device
  static constexpr std::size_t kScratchPages = 8;
  static constexpr std::size_t kPages = 6 + kScratchPages + 2 * kRingSize;
  static constexpr std::uint32_t kMaxData = kPageSize - vsock::kHeaderSize;
  static constexpr std::uint32_t kDoor = 440;  // the port that leads somewhere

  HostileDriver(Machine& machine, std::uint64_t guest_cid, std::uint32_t seed)
      : dice(seed), machine_(machine), cid_(guest_cid) {}

  [[nodiscard]] Machine& machine() { return machine_; }
  /// Empty rings, a started device, and receive buffers if `fill`.
  void start(std::uint64_t features = kVersion1Bit, bool fill = true);
  void stop() { machine_.stop(); }
  /// An honest driver's way to the door: true when the host answers before `limit` has passed.
  bool door_answers(std::chrono::milliseconds limit);

  // ---- packets
  [[nodiscard]] vsock::PacketHeader header(vsock::Op op, std::uint32_t port,
                                           std::uint32_t host_port = kDoor) const;
  /// One packet, when a transmit buffer is free: waits for that a little, then says false. The
  /// header is sent as it is, with `data` bytes behind it whatever it says.
  bool send(const vsock::PacketHeader& header, std::uint32_t data = 0);
  /// Every packet that has come; buffers are given back while `refill`.
  void receive(const std::function<void(const vsock::PacketHeader&)>& on_packet = {});
  bool refill = true;
  /// Opens a stream the honest way.
  bool connect(std::uint32_t port, std::uint32_t host_port = kDoor);
  /// Lets the device work until it has taken all it was given, or `limit` has passed.
  void settle(std::chrono::milliseconds limit = std::chrono::milliseconds(10));

  // ---- rings
  [[nodiscard]] QueuePlace place(unsigned ring) const;
  [[nodiscard]] const Page& descriptors(unsigned ring) const { return page(ring * 3); }
  [[nodiscard]] const Page& available(unsigned ring) const { return page(ring * 3 + 1); }
  [[nodiscard]] const Page& used(unsigned ring) const { return page(ring * 3 + 2); }
  [[nodiscard]] const Page& scratch(std::size_t index) const { return page(6 + index); }
  [[nodiscard]] const Page& buffer(unsigned ring, std::size_t slot) const {
    return page(6 + kScratchPages + ring * kRingSize + slot);
  }
  static void write_descriptor(const Page& table, std::size_t index, std::uint64_t address,
                               std::uint32_t size, std::uint16_t flags, std::uint16_t next = 0);
  void offer(unsigned ring, std::uint16_t head);
  void set_available(unsigned ring, std::uint16_t index);
  [[nodiscard]] std::uint16_t available_index(unsigned ring) const { return offered_[ring]; }
  [[nodiscard]] std::uint16_t used_index(unsigned ring) const;

  std::mt19937 dice;
  std::uint32_t random(std::uint32_t below) { return static_cast<std::uint32_t>(dice() % below); }
  std::uint64_t sent = 0;
  std::uint64_t received = 0;

 private:
  [[nodiscard]] const Page& page(std::size_t index) const { return machine_.pages()[index]; }
  void give_rx(std::uint16_t slot);

  Machine& machine_;
  std::uint64_t cid_;
  std::array<std::uint16_t, 2> offered_{};
  std::uint16_t seen_ = 0;  // of the receive ring's used buffers
  std::uint32_t next_port_ = 0x7000'0000;
};

}  // namespace pinhole::vhost::testing
