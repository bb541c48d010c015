// SPDX-License-Identifier: Apache-2.0
// The host's end of port 442: what the guest says about itself. All of it is the guest's claim.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "sys/asio.h"
#include "wire/hello.h"

namespace pinhole::supervisor {

/// What the host tells every guest: its clock, since 1970, and fresh randomness for the guest's own
/// generator.
std::uint64_t host_time_ms();
std::string host_entropy();
/// With both. 0 acknowledges no heartbeat.
wire::HeartbeatAck heartbeat_ack(std::uint64_t seq);

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
  /// To the guest that is connected now, behind what it is being told; who connects later gets a
  /// welcome instead. Never waits.
  void tell(wire::HostMessage message);

 private:
  struct Peer;
  asio::awaitable<void> serve(std::shared_ptr<Peer> peer);
  asio::awaitable<bool> handle(std::shared_ptr<Peer> peer, wire::GuestMessage message);
  static asio::awaitable<bool> send(std::shared_ptr<Peer> peer, wire::HostMessage message);
  /// True when it is the boot that is known already.
  bool begin_boot(const wire::Hello& hello);
  bool within_rate();

  asio::io_context& io_;
  asio::local::stream_protocol::acceptor acceptor_;
  WelcomeFor welcome_;
  Handler on_change_;
  GuestState state_;
  std::weak_ptr<Peer> current_;  // the newest that said hello
  int open_ = 0;
  std::chrono::steady_clock::time_point minute_started_;
  int said_in_minute_ = 0;
};

}  // namespace pinhole::supervisor
