// SPDX-License-Identifier: Apache-2.0
#include "vhost/testing/hostile_driver.h"

#include <poll.h>

#include <cstring>

#include "base/bytes.h"

namespace pinhole::vhost::testing {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kIndex = 2;
constexpr std::size_t kEntries = 4;

std::span<std::uint8_t> span_of(const Page& page) { return {page.bytes, kPageSize}; }

std::uint16_t load16(const Page& page, std::size_t offset) {
  return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(page.bytes + offset),
                         __ATOMIC_ACQUIRE);
}
void store16(const Page& page, std::size_t offset, std::uint16_t value) {
  __atomic_store_n(reinterpret_cast<std::uint16_t*>(page.bytes + offset), value, __ATOMIC_RELEASE);
}

/// There are no interrupts here, and nothing to wait for but memory: lets the device have a turn.
void glance() {
  constexpr timespec kTurn{.tv_sec = 0, .tv_nsec = 100'000};
  ::ppoll(nullptr, 0, &kTurn, nullptr);
}

}  // namespace

QueuePlace HostileDriver::place(unsigned ring) const {
  return {.size = kRingSize,
          .descriptors = descriptors(ring).address,
          .available = available(ring).address,
          .used = used(ring).address};
}

void HostileDriver::start(std::uint64_t features, bool fill) {
  machine_.stop();
  for (std::size_t i = 0; i < 6; ++i) std::memset(page(i).bytes, 0, kPageSize);
  offered_ = {};
  seen_ = 0;
  refill = true;
  machine_.start(features, {place(kRx), place(kTx)});
  if (!fill) return;
  for (std::uint16_t slot = 0; slot < kRingSize; ++slot) give_rx(slot);
  machine_.notify(kRx);
}

void HostileDriver::give_rx(std::uint16_t slot) {
  write_descriptor(descriptors(kRx), slot, buffer(kRx, slot).address, kPageSize, kWrite);
  offer(kRx, slot);
}

// ---------------------------------------------------------------- rings

void HostileDriver::write_descriptor(const Page& table, std::size_t index, std::uint64_t address,
                                     std::uint32_t size, std::uint16_t flags, std::uint16_t next) {
  const auto out = span_of(table).subspan(index * 16, 16);
  store_le(out, 0, address);
  store_le(out, 8, size);
  store_le(out, 12, flags);
  store_le(out, 14, next);
}

void HostileDriver::offer(unsigned ring, std::uint16_t head) {
  store16(available(ring), kEntries + offered_[ring] % kRingSize * 2U, head);
  set_available(ring, static_cast<std::uint16_t>(offered_[ring] + 1));
}

void HostileDriver::set_available(unsigned ring, std::uint16_t index) {
  offered_[ring] = index;
  store16(available(ring), kIndex, index);
}

std::uint16_t HostileDriver::used_index(unsigned ring) const { return load16(used(ring), kIndex); }

// ---------------------------------------------------------------- packets

vsock::PacketHeader HostileDriver::header(vsock::Op op, std::uint32_t port,
                                          std::uint32_t host_port) const {
  return {.src_cid = cid_,
          .dst_cid = vsock::kHostCid,
          .src_port = port,
          .dst_port = host_port,
          .op = static_cast<std::uint16_t>(op),
          .buf_alloc = 256 * 1024};
}

bool HostileDriver::send(const vsock::PacketHeader& header, std::uint32_t data) {
  constexpr milliseconds kPatience{20};
  const auto deadline = Clock::now() + kPatience;
  while (static_cast<std::uint16_t>(offered_[kTx] - used_index(kTx)) >= kRingSize) {
    if (Clock::now() > deadline) return false;
    machine_.notify(kTx);
    receive();
    glance();
  }
  const std::uint16_t slot = offered_[kTx] % kRingSize;
  const auto bytes = vsock::encode_header(header);
  std::memcpy(buffer(kTx, slot).bytes, bytes.data(), bytes.size());
  write_descriptor(descriptors(kTx), slot, buffer(kTx, slot).address,
                   static_cast<std::uint32_t>(vsock::kHeaderSize) + data, 0);
  offer(kTx, slot);
  // A kick costs an exit; the device looks again by itself while it is busy.
  if (offered_[kTx] % 16 == 1) machine_.notify(kTx);
  ++sent;
  return true;
}

void HostileDriver::receive(const std::function<void(const vsock::PacketHeader&)>& on_packet) {
  // What a device says is not trusted here either: at most a ring's worth.
  for (std::uint16_t taken = 0; taken < kRingSize && seen_ != used_index(kRx); ++taken, ++seen_) {
    const std::size_t at = kEntries + seen_ % kRingSize * std::size_t{8};
    const auto slot = load_le<std::uint32_t>(span_of(used(kRx)), at);
    if (slot >= kRingSize) continue;
    vsock::HeaderBytes bytes;
    std::memcpy(bytes.data(), buffer(kRx, slot).bytes, bytes.size());
    ++received;
    if (on_packet) on_packet(vsock::decode_header(bytes));
    if (!refill) continue;
    give_rx(static_cast<std::uint16_t>(slot));
    if (slot % 16 == 0) machine_.notify(kRx);
  }
}

void HostileDriver::settle(milliseconds limit) {
  machine_.notify(kTx);
  machine_.notify(kRx);
  const auto deadline = Clock::now() + limit;
  while (Clock::now() < deadline && used_index(kTx) != offered_[kTx]) {
    receive();
    glance();
  }
  receive();
}

bool HostileDriver::connect(std::uint32_t port, std::uint32_t host_port) {
  constexpr milliseconds kPatience{200};
  if (!send(header(vsock::Op::request, port, host_port))) return false;
  machine_.notify(kTx);
  const auto deadline = Clock::now() + kPatience;
  std::optional<bool> open;
  while (!open && Clock::now() < deadline) {
    receive([&](const vsock::PacketHeader& packet) {
      if (packet.dst_port != port) return;
      if (packet.op == static_cast<std::uint16_t>(vsock::Op::response)) open = true;
      if (packet.op == static_cast<std::uint16_t>(vsock::Op::rst)) open = false;
    });
    machine_.notify(kRx);
    glance();
  }
  return open.value_or(false);
}

bool HostileDriver::door_answers(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (Clock::now() < deadline) {
    start();
    const std::uint32_t port = next_port_++;
    const bool open = connect(port);
    send(header(vsock::Op::rst, port));
    settle();
    if (open) return true;
  }
  return false;
}

}  // namespace pinhole::vhost::testing
