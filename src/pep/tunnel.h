// SPDX-License-Identifier: Apache-2.0
// An allowed CONNECT: a TCP connection to a checked address, then bytes both ways with half-close.
// Nothing is decrypted; but for raw TCP the name in the ClientHello must be the name that was decided
// on.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "http/address.h"
#include "http/host.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/connection.h"
#include "pep/door.h"

namespace pinhole::pep {

struct TunnelResult {
  ExchangeEnd end;
  std::optional<Refusal> refusal = {};  // set when no 200 was sent: the guest gets this answer
};

/// Owned by a Session; the guest's connection ends with it.
class Tunnel {
 public:
  /// `raw`: nothing is looked at (a `tcp://` rule). Else it is TLS, for `host` by its ClientHello.
  Tunnel(Door& door, Connection& guest, http::Host host, std::uint16_t port, bool raw);

  asio::awaitable<TunnelResult> run(std::vector<http::Endpoint> endpoints);
  void check_deadline(std::chrono::steady_clock::time_point now);
  /// The guest closed both directions.
  void guest_gone();
  /// Ends it now.
  void cut();

 private:
  asio::awaitable<std::optional<Refusal>> connect(std::vector<http::Endpoint> endpoints);
  asio::awaitable<error_code> connect_to(http::Endpoint endpoint);
  asio::awaitable<std::optional<Refusal>> pass_proxy();
  asio::awaitable<bool> check_hello();
  asio::awaitable<bool> refuse_hello(std::string_view code, std::string note, int alert);
  asio::awaitable<void> to_origin();
  asio::awaitable<void> to_guest();

  Door& door_;
  Connection& guest_;
  http::Host host_;
  std::uint16_t port_;
  bool raw_;
  asio::ip::tcp::socket origin_;
  ExchangeEnd end_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::chrono::milliseconds patience_;  // from the last byte that moved
  bool relaying_ = false;
  bool guest_gone_ = false;
  bool guest_done_ = false;  // its end of stream was passed on
};

}  // namespace pinhole::pep
