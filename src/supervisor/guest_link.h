// SPDX-License-Identifier: Apache-2.0
// The host's end of port 442: what the guest says about itself. All of it is the guest's claim.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/fd.h"
#include "sys/asio.h"
#include "wire/hello.h"

namespace pinhole::supervisor {

/// What is known of the guest in its present boot.
struct GuestState {
  std::string nonce;
  std::optional<wire::Hello> hello;
  bool ready = false;  // it gave the nonce back: a completed round trip
  std::map<wire::StageName, wire::Stage> stages;
  std::map<wire::MarkerName, std::string> markers;
  std::uint64_t heartbeats = 0;
  std::chrono::steady_clock::time_point last_heard;
};

/// Accepts the agent's connections, one of which is the current one: the newest that said hello. A
/// connection that says nothing, too much or nonsense is dropped and harms nobody.
class GuestLink {
 public:
  /// What changed; the state has been updated already. `again` is a hello of the boot that is known:
  /// the agent lost its connection (vsockd was started again) and repeats what it has reported, of
  /// which only what is new counts as a change.
  enum class Change { hello, again, ready, stage, marker, heartbeat };
  using Handler = std::function<void(Change change, const wire::GuestMessage& message)>;
  /// Makes the welcome for a boot with this nonce.
  using WelcomeFor = std::function<wire::Welcome(const std::string& nonce)>;

  GuestLink(asio::io_context& io, Fd listener, WelcomeFor welcome, Handler on_change);

  asio::awaitable<void> run();
  [[nodiscard]] const GuestState& state() const { return state_; }

 private:
  asio::awaitable<void> serve(asio::local::stream_protocol::socket socket, std::uint64_t id);
  asio::awaitable<bool> handle(asio::local::stream_protocol::socket& socket, std::uint64_t id,
                               wire::GuestMessage message);
  /// True when it is the boot that is known already.
  bool begin_boot(const wire::Hello& hello);
  bool within_rate();

  asio::io_context& io_;
  asio::local::stream_protocol::acceptor acceptor_;
  WelcomeFor welcome_;
  Handler on_change_;
  GuestState state_;
  std::uint64_t next_id_ = 1;
  std::uint64_t current_ = 0;
  int open_ = 0;
  std::chrono::steady_clock::time_point minute_started_;
  int said_in_minute_ = 0;
};

}  // namespace pinhole::supervisor
