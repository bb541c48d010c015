// SPDX-License-Identifier: Apache-2.0
#include "pep/tunnel.h"

#include <utility>

#include "http/client_hello.h"

namespace pinhole::pep {
namespace {

// Alerts (RFC 8446 §6).
constexpr int kAccessDenied = 49;
constexpr int kDecodeError = 50;
constexpr int kUnrecognizedName = 112;

}  // namespace

Tunnel::Tunnel(Door& door, Connection& guest, http::Host host, std::uint16_t port, bool raw)
    : door_(door), guest_(guest), host_(host), raw_(raw), dial_(door, std::move(host), port) {}

asio::awaitable<TunnelResult> Tunnel::run(std::vector<http::Endpoint> endpoints) {
  auto dialled = co_await dial_.run(std::move(endpoints), false);
  end_.address = dial_.address();
  if (!dialled) {
    Refusal& refusal = dialled.error();
    end_.code = refusal.code;
    end_.status = status_of(refusal);
    end_.note = refusal.detail;
    co_return TunnelResult{.end = end_, .refusal = std::move(refusal)};
  }
  origin_ = *std::move(dialled);
  end_.status = 200;
  waiting_since_ = std::chrono::steady_clock::now();
  const bool answered = co_await guest_.write("HTTP/1.1 200 Connection established\r\n\r\n");
  bool go_on = answered;
  if (answered && !raw_) go_on = co_await check_hello();
  waiting_since_.reset();
  if (go_on) {
    relay_.emplace(guest_, *origin_,
                   RelayLimits{.idle = door_.policy.limits().idle, .total = door_.times.total});
    co_await relay_->run();
    end_.sent = relay_->sent();
    end_.received = relay_->received();
    end_.code = relay_->code();
    end_.note = relay_->note();
  }
  cut();
  co_return TunnelResult{.end = end_};
}

asio::awaitable<bool> Tunnel::check_hello() {
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

void Tunnel::check_deadline(std::chrono::steady_clock::time_point now) {
  if (relay_) return relay_->check_deadline(now);
  if (!waiting_since_ || now - *waiting_since_ <= door_.times.client_hello) return;
  end_.code = "timeout";
  end_.note = "the guest did not begin in time";
  cut();
}

void Tunnel::guest_gone() {
  if (relay_) return relay_->guest_gone();
  cut();
}

void Tunnel::cut() {
  dial_.cut();
  if (origin_) origin_->close();
  guest_.close();
}

}  // namespace pinhole::pep
