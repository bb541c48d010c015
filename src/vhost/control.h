// SPDX-License-Identifier: Apache-2.0
// The supervisor's heartbeat: one question, answered from the same loop that serves the guest, so an
// answer shows that the loop turns.
//   -> stats\n
//   <- {"connections":2,"half_open":0,"buffered_bytes":0,"opened":9,"reset":1,"limited":0}\n
// Counts are of now (connections, half_open, buffered_bytes) or since the program started.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "sys/event_loop.h"
#include "vsock/muxer.h"

namespace pinhole::vhost {

/// Longest line that is read, its newline counted.
inline constexpr std::size_t kMaxControlLine = 64;
/// Questions that are answered before other events have their turn.
inline constexpr int kAnswersPerTurn = 16;

/// The answer, with its newline.
std::string stats_line(const vsock::MuxerStats& stats);

/// One connected socket. Calls `ended` once when the other side closes it or says anything but the
/// question; `why` is empty for the former. An answer that the other side does not read is waited
/// for with nothing more being read.
class ControlChannel {
 public:
  using Stats = std::function<vsock::MuxerStats()>;
  using Ended = std::function<void(std::string_view why)>;

  static Result<std::unique_ptr<ControlChannel>> start(sys::EventLoop& loop, Fd socket, Stats stats,
                                                       Ended ended);
  ControlChannel(const ControlChannel&) = delete;
  ControlChannel& operator=(const ControlChannel&) = delete;

  void on_ready();
  /// Questions are left that one turn could not take: call on_ready() in the next one.
  [[nodiscard]] bool has_more() const { return has_more_; }

 private:
  ControlChannel(Fd socket, Stats stats, Ended ended)
      : socket_(std::move(socket)), stats_(std::move(stats)), ended_(std::move(ended)) {}
  bool write_answer();
  bool read_some();
  bool answer_lines();
  bool end(std::string_view why);

  Fd socket_;
  sys::Watch watch_;  // after the socket: ends before it
  Stats stats_;
  Ended ended_;
  std::array<char, kMaxControlLine> bytes_{};
  std::size_t have_ = 0;
  std::string answer_;  // what is left of it
  int answers_ = 0;     // in this turn
  bool has_more_ = false;
  bool over_ = false;
};

}  // namespace pinhole::vhost
