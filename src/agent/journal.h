// SPDX-License-Identifier: Apache-2.0
// What this boot has to tell the host, in order, kept so that a new connection can be told all of
// it again.
#pragma once

#include <vector>

#include "sys/asio.h"
#include "wire/hello.h"

namespace pinhole::agent {

/// Bounded by its writers: four stages and two markers per nonce, and the workspace's repairs.
class Journal {
 public:
  explicit Journal(const asio::any_io_executor& executor)
      : changed_(executor, asio::steady_timer::time_point::max()) {}

  void add(wire::GuestMessage message) {
    entries_.push_back(std::move(message));
    changed_.cancel();
  }
  [[nodiscard]] const std::vector<wire::GuestMessage>& entries() const { return entries_; }
  /// Cancelled with each entry: wait on it to wake up early. For one waiter.
  asio::steady_timer& changed() { return changed_; }

 private:
  std::vector<wire::GuestMessage> entries_;
  asio::steady_timer changed_;
};

}  // namespace pinhole::agent
