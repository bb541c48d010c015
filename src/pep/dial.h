// SPDX-License-Identifier: Apache-2.0
// A byte stream to an origin, where libcurl cannot carry what is to pass: tunnels and what an Upgrade
// begins.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "http/address.h"
#include "http/host.h"
#include "pep/answer.h"
#include "pep/connection.h"
#include "pep/door.h"

namespace pinhole::pep {

/// Used once. Each step has Times::connect as its limit.
class Dial {
 public:
  Dial(Door& door, http::Host host, std::uint16_t port)
      : door_(door), host_(std::move(host)), port_(port), socket_(door.context) {}

  /// To the first of the checked addresses that takes a connection, through the upstream proxy
  /// where the policy has one; with `tls` the origin's certificate is verified for its name.
  /// Refusals: `connect_error`, `timeout`, `tls_error`.
  asio::awaitable<std::expected<std::unique_ptr<Connection>, Refusal>> run(
      std::vector<http::Endpoint> endpoints, bool tls);
  /// Ends it now.
  void cut();
  /// The one that was tried last.
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  asio::awaitable<std::optional<Refusal>> connect(std::vector<http::Endpoint> endpoints);
  asio::awaitable<error_code> connect_to(http::Endpoint endpoint);
  asio::awaitable<std::optional<Refusal>> pass_proxy();
  asio::awaitable<std::optional<Refusal>> start_tls(Connection* connection);

  Door& door_;
  http::Host host_;
  std::uint16_t port_;
  asio::ip::tcp::socket socket_;
  Connection* connection_ = nullptr;  // while its handshake runs
  std::string address_;
  bool cut_ = false;
};

}  // namespace pinhole::pep
