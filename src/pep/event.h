// SPDX-License-Identifier: Apache-2.0
// "Something changed, look again", from a callback to one waiting coroutine.
#pragma once

#include "sys/asio.h"

namespace pinhole::pep {

class Event {
 public:
  explicit Event(asio::io_context& context)
      : timer_(context, asio::steady_timer::time_point::max()) {}

  void notify() {
    raised_ = true;
    timer_.cancel();
  }
  /// Returns once notify() was called since the last return; never inline with the caller of
  /// notify().
  asio::awaitable<void> wait() {
    while (!raised_) {
      [[maybe_unused]] auto [error] = co_await timer_.async_wait(as_result);
    }
    raised_ = false;
  }

 private:
  asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace pinhole::pep
