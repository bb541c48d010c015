// SPDX-License-Identifier: Apache-2.0
// The device behind a vhost-user socket of this process's own: QEMU's part played as it plays it.
#pragma once

#include <memory>
#include <vector>

#include "vhost/testing/fake_guest.h"
#include "vhost/testing/hostile_driver.h"

namespace pinhole::vhost::testing {

class FakeMachine final : public Machine {
 public:
  /// Takes over a FakeGuest that has no driver yet: its socket and its memory.
  explicit FakeMachine(FakeGuest& guest);

  void start(std::uint64_t features, const std::array<QueuePlace, 2>& queues) override;
  void stop() override;
  void move_queue(unsigned ring, const QueuePlace& place) override;
  void notify(unsigned ring) override;
  [[nodiscard]] std::span<const Page> pages() const override { return pages_; }
  [[nodiscard]] std::vector<std::uint64_t> nowhere() const override;
  /// The back-end has hung up or does not answer.
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  void send(Request request, std::span<const std::uint8_t> payload, int fd = -1);
  void send_number(Request request, std::uint64_t value, int fd = -1);
  void send_state(Request request, unsigned ring, std::uint32_t number);
  void place_queue(unsigned ring, const QueuePlace& place);

  FakeGuest& guest_;
  std::vector<Page> pages_;
  bool started_ = false;
  bool broken_ = false;
};

}  // namespace pinhole::vhost::testing
