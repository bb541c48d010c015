// SPDX-License-Identifier: Apache-2.0
#include "pep/dial.h"

#include <utility>

#include "pep/upstream_proxy.h"

namespace pinhole::pep {
namespace {

namespace ip = asio::ip;

ip::tcp::endpoint to_asio(const http::Endpoint& endpoint) {
  const auto& bytes = endpoint.address.bytes;
  if (endpoint.address.is_v6) return {ip::address_v6(bytes), endpoint.port};
  return {ip::address_v4({bytes[0], bytes[1], bytes[2], bytes[3]}), endpoint.port};
}

}  // namespace

asio::awaitable<std::expected<std::unique_ptr<Connection>, Refusal>> Dial::run(
    std::vector<http::Endpoint> endpoints, bool tls) {
  auto refusal = co_await connect(std::move(endpoints));
  if (refusal) co_return std::unexpected(*std::move(refusal));
  auto connection = std::make_unique<Connection>(Connection::Socket(std::move(socket_)));
  if (!tls) co_return connection;
  refusal = co_await start_tls(connection.get());
  if (refusal) co_return std::unexpected(*std::move(refusal));
  co_return connection;
}

void Dial::cut() {
  cut_ = true;
  error_code ignored;
  socket_.close(ignored);
  if (connection_ != nullptr) connection_->close();
}

asio::awaitable<error_code> Dial::connect_to(http::Endpoint endpoint) {
  auto [error] = co_await socket_.async_connect(to_asio(endpoint), as_result);
  co_return error;
}

asio::awaitable<std::optional<Refusal>> Dial::connect(std::vector<http::Endpoint> endpoints) {
  Refusal refusal{.code = "connect_error", .detail = "no address"};
  for (const auto& endpoint : endpoints) {
    address_ = http::to_string(endpoint);
    auto attempt = connect_to(endpoint);
    const auto result = co_await with_deadline(std::move(attempt), door_.times.connect);
    if (cut_) co_return Refusal{.code = "connect_error", .detail = "the guest left"};
    error_code ignored;
    if (result && !*result) {
      socket_.set_option(ip::tcp::no_delay(true), ignored);
      auto passed = co_await pass_proxy();
      co_return passed;
    }
    socket_.close(ignored);
    if (result) {
      refusal = {.code = "connect_error",
                 .detail = fmt::format("cannot connect to {}: {}", address_, result->message())};
    } else {
      refusal = {.code = "timeout",
                 .detail = fmt::format("no connection to {} in {} ms", address_,
                                       door_.times.connect.count())};
    }
  }
  co_return refusal;
}

/// An upstream proxy's refusal is the end: another address of it would say the same.
asio::awaitable<std::optional<Refusal>> Dial::pass_proxy() {
  if (!goes_through_proxy(door_, host_, port_)) co_return std::nullopt;
  auto question = ask_proxy(&socket_, fmt::format("{}:{}", host_.in_url(), port_));
  const auto answer = co_await with_deadline(std::move(question), door_.times.connect);
  if (!answer) {
    co_return Refusal{.code = "timeout",
                      .detail = fmt::format("the upstream proxy said nothing in {} ms",
                                            door_.times.connect.count())};
  }
  if (*answer) co_return Refusal{.code = "connect_error", .detail = **answer};
  co_return std::nullopt;
}

asio::awaitable<std::optional<Refusal>> Dial::start_tls(Connection* connection) {
  const auto trust = door_.trust.find(door_.policy.ca_file(host_));
  if (!trust) co_return Refusal{.code = "tls_error", .detail = trust.error().message};
  static const std::vector<std::string> kProtocols = {"http/1.1"};
  auto stream = door_.tls_client.connect(**trust, host_.name, host_.ip.has_value(), kProtocols,
                                         connection->transport());
  if (!stream) co_return Refusal{.code = "tls_error", .detail = stream.error().message};
  connection_ = connection;
  auto handshake = connection->start_tls(*std::move(stream));
  const auto agreed = co_await with_deadline(std::move(handshake), door_.times.connect);
  connection_ = nullptr;
  if (agreed && *agreed) co_return std::nullopt;
  if (!agreed) {
    co_return Refusal{
        .code = "timeout",
        .detail = fmt::format("no TLS with {} in {} ms", address_, door_.times.connect.count())};
  }
  const std::string why = connection->tls_error();
  co_return Refusal{.code = "tls_error",
                    .detail = why.empty() ? "the origin left during the handshake" : why};
}

}  // namespace pinhole::pep
