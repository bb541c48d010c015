// SPDX-License-Identifier: Apache-2.0
// A small edge-triggered epoll loop, for the device back-end: it moves bytes between descriptors
// and foreign memory by readiness, where one coroutine and one pending operation per descriptor
// (Asio) would cost more and could outlive what it points to. Other programs use sys/asio.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// What a descriptor has become since it was last reported (or since it was watched).
struct Ready {
  bool readable = false;
  bool writable = false;
  bool hung_up = false;  // both directions are over
};

class EventLoop;

/// Watches one borrowed descriptor until it is destroyed; no handler runs after that. Must be
/// destroyed before the descriptor is closed.
class Watch {
 public:
  Watch() = default;
  Watch(Watch&& other) noexcept;
  Watch& operator=(Watch&& other) noexcept;
  ~Watch() { stop(); }
  void stop();

 private:
  friend class EventLoop;
  Watch(EventLoop& loop, int fd, std::uint64_t id) : loop_(&loop), fd_(fd), id_(id) {}
  EventLoop* loop_ = nullptr;
  int fd_ = -1;
  std::uint64_t id_ = 0;
};

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Handler = std::function<void(Ready)>;

  static Result<std::unique_ptr<EventLoop>> make();

  /// Calls `handler` on every change of `fd` to readable, writable or hung up, and once for its
  /// present state: who is called reads or writes until EAGAIN, or remembers that there is more.
  Result<Watch> watch(int fd, Handler handler);

  /// Called once per turn, after the handlers of its events: `work` returns true when it has more
  /// to do, and the next turn then does not wait. `next_time` tells when to end a wait.
  void set_turn(std::function<bool()> work,
                std::function<std::optional<Clock::time_point>()> next_time);

  /// SIGTERM and SIGINT end run() from now on.
  Result<void> stop_on_signals();
  void run();
  /// One turn that waits for at most `limit`; for tests.
  void run_once(std::chrono::milliseconds limit);
  void stop() { stopping_ = true; }

 private:
  friend class Watch;
  EventLoop() = default;
  void turn(int wait_ms);
  [[nodiscard]] int wait_ms() const;

  Fd epoll_;
  // By number, not by pointer: an event of this turn may be for a descriptor that an earlier
  // handler has given up.
  std::unordered_map<std::uint64_t, std::shared_ptr<Handler>> handlers_;
  Fd signals_;
  Watch signals_watch_;
  std::uint64_t next_id_ = 1;
  std::function<bool()> work_;
  std::function<std::optional<Clock::time_point>()> next_time_;
  bool more_work_ = true;
  bool stopping_ = false;
};

}  // namespace pinhole::sys
