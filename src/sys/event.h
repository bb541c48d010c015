// SPDX-License-Identifier: Apache-2.0
// "Something changed, look again", from a callback to one waiting coroutine.
#pragma once

#include "sys/asio.h"

namespace pinhole::sys {

class Event {
 public:
  explicit Event(asio::io_context& io) : timer_(io, asio::steady_timer::time_point::max()) {}

  void notify() {
    raised_ = true;
    timer_.cancel();
  }
  /// Returns once notify() was called since the last return; never inline with the caller of
  /// notify().
  asio::awaitable<void> wait() {
    while (!raised_) {
      co_await timer_.async_wait(as_result);
    }
    raised_ = false;
  }
  /// wait(), or false when `deadline` passed first.
  asio::awaitable<bool> wait_until(std::chrono::steady_clock::time_point deadline) {
    while (!raised_ && std::chrono::steady_clock::now() < deadline) {
      timer_.expires_at(deadline);
      co_await timer_.async_wait(as_result);
    }
    timer_.expires_at(asio::steady_timer::time_point::max());
    co_return std::exchange(raised_, false);
  }

 private:
  asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace pinhole::sys
