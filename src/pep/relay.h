// SPDX-License-Identifier: Apache-2.0
// Bytes between a guest and an origin, both ways, with half-close and back-pressure: one piece at a
// time is held for each direction.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>

#include "pep/audit_log.h"
#include "pep/connection.h"
#include "sys/asio.h"

namespace pinhole::pep {

struct RelayLimits {
  std::chrono::milliseconds idle;   // no byte either way
  std::chrono::milliseconds total;  // from the relay's start
  std::uint64_t sent = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t received = std::numeric_limits<std::uint64_t>::max();
};

/// Both connections stay their owner's, and are closed when run() returns: in order if both sides
/// ended in order, else by a reset, so that neither takes a part for the whole. (A guest behind a
/// unix socket cannot be reset; it sees the end of the stream.)
class Relay {
 public:
  using Clock = std::chrono::steady_clock;
  /// Appends to `out` what the guest gets for `bytes`; an error ends the relay.
  using Filter = std::function<Result<void>(std::string_view bytes, std::string& out)>;

  /// Sees what the guest says before the origin does; an error ends the relay.
  using Check = std::function<Result<void>(std::string_view bytes)>;

  Relay(Connection& guest, Connection& origin, const RelayLimits& limits, Filter filter = {},
        Check check = {})
      : guest_(guest),
        origin_(origin),
        limits_(limits),
        filter_(std::move(filter)),
        check_(std::move(check)) {}

  asio::awaitable<void> run();
  void check_deadline(Clock::time_point now);
  /// The guest closed both directions: what it sent before still goes on.
  void guest_gone();
  void cut();

  [[nodiscard]] std::uint64_t sent() const { return sent_; }
  [[nodiscard]] std::uint64_t received() const { return received_; }
  /// Why it ended, where that was not both sides' wish.
  [[nodiscard]] const std::string& code() const { return code_; }
  [[nodiscard]] const std::string& note() const { return note_; }

 private:
  asio::awaitable<void> to_origin();
  asio::awaitable<void> to_guest();
  bool pass(std::string_view bytes, std::string& filtered);
  bool may_go(std::string_view bytes);
  void fail(std::string_view code, std::string note);

  Connection& guest_;
  Connection& origin_;
  RelayLimits limits_;
  Filter filter_;
  Check check_;
  Clock::time_point started_ = Clock::now();
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::string code_;
  std::string note_;
  bool guest_gone_ = false;
  bool cut_ = false;
  bool guest_done_ = false;  // its end of stream was passed on
};

}  // namespace pinhole::pep
