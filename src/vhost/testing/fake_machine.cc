// SPDX-License-Identifier: Apache-2.0
#include "vhost/testing/fake_machine.h"

#include <poll.h>

#include <algorithm>
#include <limits>

#include "base/bytes.h"
#include "vhost/virtqueue.h"

namespace pinhole::vhost::testing {

FakeMachine::FakeMachine(FakeGuest& guest) : guest_(guest) {
  const auto memory = guest.memory();
  // Not the first and the last: what lies beside a ring is then the guest's too.
  for (std::size_t at = kPageSize; at + 2 * kPageSize <= memory.size(); at += kPageSize) {
    pages_.push_back({&memory[at], FakeGuest::kGuestBase + at});
  }
}

std::vector<std::uint64_t> FakeMachine::nowhere() const {
  const std::uint64_t end = FakeGuest::kGuestBase + guest_.memory().size();
  return {0,
          FakeGuest::kGuestBase - 16,
          end - 15,
          end,
          std::uint64_t{1} << 32,
          std::uint64_t{1} << 63,
          std::numeric_limits<std::uint64_t>::max() - 31,
          FakeGuest::kUserBase};
}

void FakeMachine::send(Request request, std::span<const std::uint8_t> payload, int fd) {
  constexpr int kPatienceMs = 10'000;
  pollfd room{.fd = guest_.socket(), .events = POLLOUT, .revents = 0};
  broken_ |= ::poll(&room, 1, kPatienceMs) != 1;
  const std::span<const int> fds(&fd, fd < 0 ? 0 : 1);
  broken_ |= !guest_.send_message(request, payload, fds);
}

void FakeMachine::send_number(Request request, std::uint64_t value, int fd) {
  std::array<std::uint8_t, 8> payload{};
  store_le(std::span<std::uint8_t>(payload), 0, value);
  send(request, payload, fd);
}

void FakeMachine::send_state(Request request, unsigned ring, std::uint32_t number) {
  send_number(request, std::uint64_t{number} << 32 | ring);
}

/// QEMU names rings by its own addresses; a place that is not in memory is passed on as it is.
void FakeMachine::place_queue(unsigned ring, const QueuePlace& place) {
  constexpr std::uint64_t kToUser = FakeGuest::kUserBase - FakeGuest::kGuestBase;
  std::array<std::uint8_t, 40> address{};
  const std::span<std::uint8_t> out(address);
  store_le(out, 0, std::uint64_t{ring});
  store_le(out, 8, kToUser + place.descriptors);
  store_le(out, 16, kToUser + place.used);
  store_le(out, 24, kToUser + place.available);
  // More descriptors than QEMU has are an error of the front-end, which no guest can cause.
  send_state(Request::set_vring_num, ring, std::min<std::uint32_t>(place.size, kMaxRingSize));
  send(Request::set_vring_addr, address);
}

void FakeMachine::start(std::uint64_t features, const std::array<QueuePlace, 2>& queues) {
  stop();
  send_number(Request::set_features, features | kFeatureProtocol);
  broken_ |= !guest_.send_memory();
  for (unsigned ring = 0; ring < 2; ++ring) {
    send_state(Request::set_vring_base, ring, 0);
    place_queue(ring, queues[ring]);
    DriverRing& events = ring == kRx ? guest_.rx() : guest_.tx();
    send_number(Request::set_vring_kick, ring, events.kick.get());
    send_state(Request::set_vring_enable, ring, 1);
    send_number(Request::set_vring_call, ring, events.call.get());
  }
  started_ = true;
}

void FakeMachine::stop() {
  if (!started_) return;
  started_ = false;
  broken_ |= !guest_.stop_driver();
}

void FakeMachine::move_queue(unsigned ring, const QueuePlace& place) { place_queue(ring, place); }

void FakeMachine::notify(unsigned ring) {
  DriverRing& events = ring == kRx ? guest_.rx() : guest_.tx();
  guest_.kick_always(events);
}

}  // namespace pinhole::vhost::testing
