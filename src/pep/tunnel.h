// SPDX-License-Identifier: Apache-2.0
// An allowed CONNECT: a TCP connection to a checked address, then bytes both ways with half-close.
// Nothing is decrypted; but for raw TCP the name in the ClientHello must be the name that was decided
// on.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/address.h"
#include "http/host.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/connection.h"
#include "pep/dial.h"
#include "pep/door.h"
#include "pep/relay.h"

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
  asio::awaitable<bool> check_hello();
  asio::awaitable<bool> refuse_hello(std::string_view code, std::string note, int alert);

  Door& door_;
  Connection& guest_;
  http::Host host_;
  bool raw_;
  Dial dial_;
  std::unique_ptr<Connection> origin_;
  std::optional<Relay> relay_;
  ExchangeEnd end_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_;  // for its ClientHello
};

}  // namespace pinhole::pep
