// SPDX-License-Identifier: Apache-2.0
// An origin of our own on loopback, so that a VM's door can be proved through the whole path
// without any other server: one fixed answer, and a count of who came.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <boost/asio/ip/tcp.hpp>

#include "base/error.h"
#include "policy/policy.h"
#include "sys/asio.h"

namespace pinhole::pep {

class Canary {
 public:
  static constexpr std::string_view kHost = "canary.pinhole.internal";
  static constexpr std::string_view kBody = "pinhole canary\n";

  /// Listens on 127.0.0.1, on a port that is free.
  static Result<Canary> open(asio::io_context& context);
  /// The rule that leads to it, and to nothing else: GET http://canary.pinhole.internal/<anything>
  [[nodiscard]] policy::Builtin rule() const;
  void start();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::uint64_t connections() const { return counts_->connections; }
  [[nodiscard]] std::uint64_t requests() const { return counts_->requests; }

 private:
  struct Counts {
    std::uint64_t connections = 0;
    std::uint64_t requests = 0;
    int open = 0;
  };
  Canary(asio::ip::tcp::acceptor acceptor, std::uint16_t port)
      : acceptor_(std::make_shared<asio::ip::tcp::acceptor>(std::move(acceptor))), port_(port) {}
  static asio::awaitable<void> accept_loop(std::shared_ptr<asio::ip::tcp::acceptor> acceptor,
                                           std::shared_ptr<Counts> counts);
  static asio::awaitable<void> serve(asio::ip::tcp::socket socket, std::shared_ptr<Counts> counts);

  std::shared_ptr<asio::ip::tcp::acceptor> acceptor_;
  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
  std::uint16_t port_;
};

}  // namespace pinhole::pep
