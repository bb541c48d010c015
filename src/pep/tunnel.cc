// SPDX-License-Identifier: Apache-2.0
#include "pep/tunnel.h"

#include <utility>

#include "http/client_hello.h"
#include "pep/upstream_proxy.h"

namespace pinhole::pep {
namespace {

namespace ip = asio::ip;

constexpr std::size_t kPiece = std::size_t{64} << 10;
// Alerts (RFC 8446 §6).
constexpr int kAccessDenied = 49;
constexpr int kDecodeError = 50;
constexpr int kUnrecognizedName = 112;

ip::tcp::endpoint to_asio(const http::Endpoint& endpoint) {
  const auto& bytes = endpoint.address.bytes;
  if (endpoint.address.is_v6) return {ip::address_v6(bytes), endpoint.port};
  return {ip::address_v4({bytes[0], bytes[1], bytes[2], bytes[3]}), endpoint.port};
}

}  // namespace

Tunnel::Tunnel(Door& door, Connection& guest, http::Host host, std::uint16_t port, bool raw)
    : door_(door),
      guest_(guest),
      host_(std::move(host)),
      port_(port),
      raw_(raw),
      origin_(door.context),
      patience_(door.policy.limits().idle) {}

asio::awaitable<TunnelResult> Tunnel::run(std::vector<http::Endpoint> endpoints) {
  auto refusal = co_await connect(std::move(endpoints));
  if (refusal) {
    end_.code = refusal->code;
    end_.status = status_of(*refusal);
    end_.note = refusal->detail;
    co_return TunnelResult{.end = end_, .refusal = std::move(refusal)};
  }
  end_.status = 200;
  guest_.touch();
  relaying_ = true;
  const bool answered = co_await guest_.write("HTTP/1.1 200 Connection established\r\n\r\n");
  bool go_on = answered;
  if (answered && !raw_) go_on = co_await check_hello();
  if (go_on) {
    using namespace asio::experimental::awaitable_operators;
    co_await (to_origin() && to_guest());
  }
  relaying_ = false;
  cut();
  co_return TunnelResult{.end = end_};
}

asio::awaitable<error_code> Tunnel::connect_to(http::Endpoint endpoint) {
  auto [error] = co_await origin_.async_connect(to_asio(endpoint), as_result);
  co_return error;
}

asio::awaitable<std::optional<Refusal>> Tunnel::connect(std::vector<http::Endpoint> endpoints) {
  Refusal refusal{.code = "connect_error", .detail = "no address"};
  for (const auto& endpoint : endpoints) {
    end_.address = http::to_string(endpoint);
    auto attempt = connect_to(endpoint);
    const auto result = co_await with_deadline(std::move(attempt), door_.times.connect);
    if (guest_gone_) co_return Refusal{.code = "connect_error", .detail = "the guest left"};
    if (result && !*result) {
      error_code ignored;
      origin_.set_option(ip::tcp::no_delay(true), ignored);
      auto passed = co_await pass_proxy();
      co_return passed;
    }
    error_code ignored;
    origin_.close(ignored);
    if (result) {
      refusal = {
          .code = "connect_error",
          .detail = fmt::format("cannot connect to {}: {}", end_.address, result->message())};
    } else {
      refusal = {.code = "timeout",
                 .detail = fmt::format("no connection to {} in {} ms", end_.address,
                                       door_.times.connect.count())};
    }
  }
  co_return refusal;
}

/// An upstream proxy's refusal is the end: another address of it would say the same.
asio::awaitable<std::optional<Refusal>> Tunnel::pass_proxy() {
  if (!goes_through_proxy(door_, host_, port_)) co_return std::nullopt;
  auto question = ask_proxy(&origin_, fmt::format("{}:{}", host_.in_url(), port_));
  const auto answer = co_await with_deadline(std::move(question), door_.times.connect);
  if (!answer) {
    co_return Refusal{.code = "timeout",
                      .detail = fmt::format("the upstream proxy said nothing in {} ms",
                                            door_.times.connect.count())};
  }
  if (*answer) co_return Refusal{.code = "connect_error", .detail = **answer};
  co_return std::nullopt;
}

asio::awaitable<bool> Tunnel::check_hello() {
  patience_ = door_.times.client_hello;
  http::ClientHello hello;
  while (true) {
    const std::string_view input = guest_.input();
    hello = http::read_client_hello(
        {reinterpret_cast<const std::uint8_t*>(input.data()), input.size()});
    if (hello.status != http::ClientHello::Status::need_more) break;
    const bool came = co_await guest_.read_more();
    if (!came) {
      if (end_.note.empty()) end_.note = "the guest left before its ClientHello was complete";
      co_return false;
    }
  }
  patience_ = door_.policy.limits().idle;
  if (hello.status != http::ClientHello::Status::complete) {
    const bool refused = co_await refuse_hello(
        "invalid_request", "the tunnel does not start with a ClientHello", kDecodeError);
    co_return refused;
  }
  if (hello.has_ech) {
    const bool refused = co_await refuse_hello(
        "ech_not_allowed", "the ClientHello has an encrypted_client_hello extension",
        kAccessDenied);
    co_return refused;
  }
  // An address has no server name (RFC 6066 §3).
  const auto name = http::normalise_host(hello.server_name);
  const bool matches =
      hello.server_name.empty() ? host_.ip.has_value() : name.has_value() && *name == host_;
  if (matches) co_return true;
  const bool refused = co_await refuse_hello(
      "denied_by_policy",
      hello.server_name.empty() ? "the ClientHello has no server name"
                                : fmt::format("the ClientHello names {}", hello.server_name),
      kUnrecognizedName);
  co_return refused;
}

asio::awaitable<bool> Tunnel::refuse_hello(std::string_view code, std::string note, int alert) {
  ++door_.stats.denied;
  end_.code = code;
  end_.note = std::move(note);
  // A fatal alert, so that the client does not take this for a network fault.
  const std::string record{
      '\x15', '\x03', '\x03', '\x00', '\x02', '\x02', static_cast<char>(alert)};
  [[maybe_unused]] const bool told = co_await guest_.write(record);
  co_return false;
}

asio::awaitable<void> Tunnel::to_origin() {
  while (true) {
    while (!guest_.input().empty()) {
      const std::string_view input = guest_.input();
      auto [error, count] =
          co_await origin_.async_write_some(asio::buffer(input.data(), input.size()), as_result);
      if (error) {
        cut();
        co_return;
      }
      guest_.touch();
      guest_.consume(count);
      end_.sent += count;
    }
    const bool came = co_await guest_.read_more();
    if (!came) break;
  }
  guest_done_ = true;
  error_code ignored;
  origin_.shutdown(ip::tcp::socket::shutdown_send, ignored);
  if (guest_gone_) cut();
}

asio::awaitable<void> Tunnel::to_guest() {
  std::string piece(kPiece, '\0');
  while (true) {
    auto [error, count] =
        co_await origin_.async_read_some(asio::buffer(piece.data(), piece.size()), as_result);
    if (error == asio::error::eof) break;
    if (error) {
      if (end_.code.empty() && !guest_done_) end_.code = "upstream_error";
      cut();
      co_return;
    }
    end_.received += count;
    const bool written = co_await guest_.write(std::string_view(piece.data(), count));
    if (!written) {
      cut();
      co_return;
    }
  }
  guest_.shutdown_send();
}

void Tunnel::check_deadline(std::chrono::steady_clock::time_point now) {
  if (!relaying_) return;
  const bool late = now - started_ > door_.times.total;
  if (!late && now - guest_.last_activity() <= patience_) return;
  end_.code = "timeout";
  end_.note = late ? "the tunnel was open too long" : "idle: no byte moved in time";
  cut();
}

void Tunnel::guest_gone() {
  guest_gone_ = true;
  if (guest_done_ || !relaying_) cut();
}

void Tunnel::cut() {
  error_code ignored;
  origin_.close(ignored);
  guest_.close();
}

}  // namespace pinhole::pep
