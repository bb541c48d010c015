// SPDX-License-Identifier: Apache-2.0
// One connection of the guest: requests one after the other, each decided, written down and carried
// out or refused.
#pragma once

#include <chrono>
#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "http/client_hello.h"
#include "http/request.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/connection.h"
#include "pep/door.h"
#include "pep/exchange.h"
#include "pep/h1_client.h"
#include "pep/h2_session.h"
#include "pep/serve.h"
#include "pep/tunnel.h"
#include "pep/upgrade.h"

namespace pinhole::pep {

/// Started by the server; lives until its coroutine is done, which close() hastens. A session's
/// fault ends that session only.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Door& door, Connection::Socket socket);

  asio::awaitable<void> run();
  /// Called every Times::tick.
  void check_deadline(std::chrono::steady_clock::time_point now);
  /// Between requests: may be closed without loss.
  [[nodiscard]] bool is_idle() const {
    return h2_ ? h2_->is_idle() : waiting_ && guest_.input().empty();
  }
  /// The same, and no client that has only just connected.
  [[nodiscard]] bool can_be_closed(std::chrono::steady_clock::time_point now) const;
  [[nodiscard]] std::chrono::steady_clock::time_point last_activity() const {
    return guest_.last_activity();
  }
  void close();
  /// No further request after the running one.
  void finish_soon();

 private:
  void watch_hangup();
  asio::awaitable<std::expected<std::optional<http::RequestHead>, http::Fault>> read_head();
  http::Parsed<http::RequestHead> parse_head(std::string_view text) const;
  asio::awaitable<bool> serve_one();
  asio::awaitable<bool> serve_request(http::RequestHead head, RequestNote note);
  asio::awaitable<bool> serve_connect(http::RequestHead head, RequestNote note);
  asio::awaitable<bool> pass_unseen(http::RequestHead head, RequestNote note, bool raw);
  asio::awaitable<bool> look_inside(http::RequestHead head, RequestNote note,
                                    std::optional<Refusal> refused);
  asio::awaitable<ExchangeEnd> pass_inside(http::RequestHead head, const RequestNote* note,
                                           bool refused);
  [[nodiscard]] bool is_looked_into(std::uint16_t port) const;
  asio::awaitable<ExchangeEnd> enter(http::RequestHead head,
                                     std::optional<http::ClientClaim> claim);
  asio::awaitable<void> send_alert(char description);
  asio::awaitable<std::optional<ExchangeEnd>> accept_tls(http::Host host);
  asio::awaitable<std::expected<http::ClientHello, ExchangeEnd>> read_hello();
  asio::awaitable<void> speak_h2();
  asio::awaitable<bool> refuse(Refusal refusal, RequestNote note, const http::RequestHead* head);
  asio::awaitable<bool> skip_body(std::uint64_t left);
  asio::awaitable<void> linger();
  bool write_end(const RequestNote& note, const ExchangeEnd& end);

  Door& door_;
  Connection guest_;
  H1Client client_;
  Exchange exchange_;
  std::optional<Tunnel> tunnel_;
  std::optional<Upgrade> upgrade_;
  std::optional<H2Session> h2_;
  std::optional<Inside> inside_;  // set within a CONNECT that is looked into
  http::HeadLimits head_limits_;
  bool h2_preface_ = false;  // what comes is HTTP/2
  bool waiting_ = false;     // for a request's head
  bool entering_ = false;    // a CONNECT's first bytes and its TLS handshake
  bool lingering_ = false;   // reading what a refused sender still sends
  bool last_ = false;
  bool served_ = false;  // at least one request
  bool asked_ = false;   // of these, one inside a CONNECT
  std::chrono::steady_clock::time_point step_started_ = std::chrono::steady_clock::now();
};

}  // namespace pinhole::pep
