// SPDX-License-Identifier: Apache-2.0
// A WebSocket (RFC 6455): its handshake, and once the origin agreed, bytes both ways. libcurl cannot
// carry an Upgrade: after a 101 it would frame the guest's bytes as chunks.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "pep/carrier.h"
#include "pep/connection.h"
#include "pep/dial.h"
#include "pep/door.h"
#include "pep/relay.h"
#include "pep/response_head.h"
#include "pep/websocket_masker.h"

namespace pinhole::pep {

/// For one request, of a guest that speaks HTTP/1.1. An origin that does not agree has its answer
/// passed on like any other. The policy's body limits hold for the bytes of each way.
class Upgrade final : public Carrier {
 public:
  using Clock = std::chrono::steady_clock;
  Upgrade(Door& door, Connection& guest) : door_(door), guest_(guest) {}

  asio::awaitable<ExchangeResult> run(ExchangeJob job, Client* client) override;
  void guest_gone() override;
  [[nodiscard]] bool running() const override { return running_; }
  /// The guest closed both directions.
  void guest_hung_up();
  void check_deadline(Clock::time_point now);

 private:
  struct Failure {
    std::string code;
    std::string detail;
    int status = 0;
  };
  asio::awaitable<std::optional<Failure>> carry();
  std::string request_text() const;
  asio::awaitable<std::optional<Failure>> read_head();
  asio::awaitable<std::optional<Failure>> take_interim();
  asio::awaitable<std::optional<Failure>> switch_protocols();
  asio::awaitable<std::optional<Failure>> pass_answer();
  asio::awaitable<std::optional<Failure>> pass_body(ResponseHead head);
  asio::awaitable<std::optional<Failure>> more_from_origin();
  Failure origin_gone() const;
  asio::awaitable<void> tell_guest(asio::awaitable<bool> write);
  std::optional<Failure> give(std::string_view bytes);
  ExchangeResult result(std::optional<Failure> failure);
  void cut();

  Door& door_;
  Connection& guest_;
  ExchangeJob job_;
  Client* client_ = nullptr;
  std::optional<Dial> dial_;
  std::unique_ptr<Connection> origin_;
  ResponseHeadReader reader_;
  std::optional<secret::Masker> masker_;  // of an answer that is no 101
  std::optional<Relay> relay_;
  std::optional<Clock::time_point> asked_;  // the request goes out, and no head came yet
  Clock::time_point started_ = Clock::now();
  std::string timed_out_;
  std::uint64_t received_ = 0;
  int informational_ = 0;
  bool running_ = false;
  bool telling_ = false;    // a write to the guest runs, that only closing ends
  bool head_done_ = false;  // the guest has the final head
  bool whole_ = false;
  bool guest_gone_ = false;
};

}  // namespace pinhole::pep
