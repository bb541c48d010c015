// SPDX-License-Identifier: Apache-2.0
#include "pep/session.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"
#include "http/header.h"
#include "pep/admission.h"

namespace pinhole::pep {
namespace {

using std::chrono::steady_clock;

constexpr std::string_view kCutByReload = "cut: the new policy refuses it";
/// RFC 9113 §3.4; the first part, which HTTP/1 would take for a request.
constexpr std::string_view kH2Preface = "PRI * HTTP/2.0\r\n\r\n";
constexpr char kTlsHandshake = 0x16;  // content type of a record (RFC 8446 §5.1)

bool has_body(const http::RequestHead& head) {
  return head.framing == http::Framing::chunked || head.content_length > 0;
}

/// A body that is worth reading to its end although nobody wants it.
bool can_skip_body(const http::RequestHead& head) {
  constexpr std::uint64_t kWorthSkipping = 64 << 10;
  if (!has_body(head)) return true;
  return head.framing == http::Framing::length && head.content_length <= kWorthSkipping &&
         !head.expects_continue;
}

}  // namespace

Session::Session(Door& door, Connection::Socket socket)
    : door_(door), guest_(std::move(socket)), client_(door.context, guest_), exchange_(door) {
  head_limits_.head_bytes = door.policy.limits().header_bytes;
}

asio::awaitable<void> Session::run() {
  watch_hangup();
  std::exception_ptr thrown;
  try {
    bool more = true;
    while (more && !last_) more = co_await serve_one();
  } catch (...) {
    thrown = std::current_exception();
  }
  close();
  co_await exchange_.settle();  // nothing of it may run on when the session is gone
  if (thrown) std::rethrow_exception(thrown);
}

void Session::watch_hangup() {
  // EPOLLHUP: the guest closed both directions, so nobody will read an answer. A half-closed one
  // still gets its own.
  guest_.socket().async_wait(Connection::Socket::wait_error,
                             [self = shared_from_this()](error_code error) {
                               if (error) return;
                               if (self->tunnel_) return self->tunnel_->guest_gone();
                               if (self->upgrade_) return self->upgrade_->guest_hung_up();
                               self->close();
                             });
}

bool Session::can_be_closed(steady_clock::time_point now) const {
  constexpr std::chrono::seconds kSlowStart{1};
  return is_idle() && (served_ || now - guest_.last_activity() > kSlowStart);
}

void Session::close() {
  if (h2_) h2_->close();
  guest_.close();
  if (exchange_.running()) exchange_.guest_gone();
  if (upgrade_ && upgrade_->running()) upgrade_->guest_gone();
  if (tunnel_) tunnel_->cut();
}

void Session::finish_soon() {
  last_ = true;
  if (h2_) return h2_->finish_soon();
  if (is_idle()) close();
}

void Session::check_deadline(steady_clock::time_point now) {
  if (h2_) return h2_->check_deadline(now);
  if (exchange_.running()) return exchange_.check_deadline(now);
  if (tunnel_) return tunnel_->check_deadline(now);
  if (upgrade_) return upgrade_->check_deadline(now);
  if (is_idle()) {
    if (now - guest_.last_activity() > door_.policy.limits().idle) close();
  } else if (waiting_) {
    if (now - step_started_ > door_.times.request_head) close();
  } else if (entering_) {
    if (now - step_started_ > door_.times.client_hello) close();
  } else if (lingering_) {
    if (now - step_started_ > door_.times.linger) close();
  } else if (now - guest_.last_activity() > door_.policy.limits().idle) {
    close();  // a refusal that the guest does not read
  }
}

asio::awaitable<std::expected<std::optional<http::RequestHead>, http::Fault>> Session::read_head() {
  std::size_t checked = 0;
  waiting_ = true;
  step_started_ = steady_clock::now();
  while (true) {
    if (guest_.input().starts_with(kH2Preface)) {
      h2_preface_ = true;
      co_return std::nullopt;
    }
    const auto found = http::find_head_end(guest_.input(), head_limits_, checked);
    if (!found) co_return std::unexpected(found.error());
    if (const auto& end = *found) {
      auto head = parse_head(guest_.input().substr(0, *end));
      if (!head) co_return std::unexpected(std::move(head).error());
      guest_.consume(*end);
      waiting_ = false;
      co_return *std::move(head);
    }
    checked = guest_.input().size();
    if (checked == 0) {
      step_started_ = steady_clock::now();
      guest_.release_buffer();
    }
    const bool came = co_await guest_.read_more();
    if (!came) co_return std::nullopt;
    if (checked == 0) step_started_ = steady_clock::now();
  }
}

http::Parsed<http::RequestHead> Session::parse_head(std::string_view text) const {
  if (!inside_) return http::parse_proxy_request(text, head_limits_);
  return http::parse_tunnel_request(text, inside_->scheme, inside_->host, inside_->port,
                                    head_limits_);
}

asio::awaitable<void> Session::speak_h2() {
  waiting_ = false;
  served_ = true;
  h2_.emplace(door_, guest_, inside_);
  if (last_) h2_->finish_soon();
  co_await h2_->run();
}

asio::awaitable<bool> Session::serve_one() {
  if (inside_ && guest_.alpn() == "h2") {
    co_await speak_h2();
    co_return false;
  }
  auto read = co_await read_head();
  waiting_ = false;
  if (h2_preface_) {
    co_await speak_h2();
    co_return false;
  }
  if (!read) {
    served_ = true;
    asked_ = inside_.has_value();
    RequestNote unread;
    Refusal refusal = refuse_unread(door_, unread, read.error(), inside_);
    [[maybe_unused]] const bool more =
        co_await refuse(std::move(refusal), std::move(unread), nullptr);
    co_return false;
  }
  std::optional<http::RequestHead>& came = *read;
  if (!came) co_return false;
  http::RequestHead head = *std::move(came);
  served_ = true;
  asked_ = inside_.has_value();
  RequestNote note = begin_request(door_, head, inside_);
  if (auto stranger = inside_ ? std::nullopt : ask_for_token(door_, head, note)) {
    const bool more = co_await refuse(*std::move(stranger), std::move(note), &head);
    co_return more;
  }
  if (head.is_connect()) {
    const bool more = co_await serve_connect(std::move(head), std::move(note));
    co_return more;
  }
  const bool more = co_await serve_request(std::move(head), std::move(note));
  co_return more;
}

asio::awaitable<bool> Session::serve_request(http::RequestHead head, RequestNote note) {
  client_.begin(head);
  Carrier* carrier = &exchange_;
  if (head.asks_websocket) carrier = &upgrade_.emplace(door_, guest_);
  Served served = co_await serve(&door_, carrier, &head, &note, &client_);
  upgrade_.reset();
  if (!served.refusal) {
    const bool keep = served.whole && client_.keep_alive() && !last_;
    // An answer that ends with the connection ends as TLS wants it; a cut one does not.
    if (served.whole && !keep) guest_.shutdown_send();
    co_return keep;
  }
  // Where the body was begun its rest is somewhere on the way.
  const bool begun = has_body(head) && client_.body_begun();
  const bool more =
      co_await refuse(*std::move(served.refusal), std::move(note), begun ? nullptr : &head);
  co_return more;
}

asio::awaitable<bool> Session::serve_connect(http::RequestHead head, RequestNote note) {
  const auto request = policy::Request::connect(head.url.host, head.url.port);
  auto verdict = judge(door_, request, note, 0);
  const bool is_looked_into = this->is_looked_into(head.url.port);
  if (!verdict && is_looked_into && verdict.error().code == std::string_view("denied_by_policy")) {
    // TLS clients hide the body of a refused CONNECT, and a program that knows of no proxy never
    // made one: the first request inside gets the answer.
    const bool more =
        co_await look_inside(std::move(head), std::move(note), std::move(verdict).error());
    co_return more;
  }
  if (!verdict) {
    Refusal refusal = record_refusal(door_, note, std::move(verdict).error());
    const bool more = co_await refuse(std::move(refusal), std::move(note), &head);
    co_return more;
  }
  if (verdict->handling == policy::Handling::inspect && (door_.tls_server || is_looked_into)) {
    const bool more = co_await look_inside(std::move(head), std::move(note), std::nullopt);
    co_return more;
  }
  const bool raw = verdict->handling == policy::Handling::raw;
  note.action = raw ? "raw" : "tunnel";
  const auto slot = admit(door_, *verdict);
  if (!slot) {
    Refusal refusal = record_refusal(door_, note, slot.error());
    const bool more = co_await refuse(std::move(refusal), std::move(note), &head);
    co_return more;
  }
  const bool more = co_await pass_unseen(std::move(head), std::move(note), raw);
  co_return more;
}

/// `tls: tunnel`, `tcp://`, and without an authority whatever no rule inside could refuse.
asio::awaitable<bool> Session::pass_unseen(http::RequestHead head, RequestNote note, bool raw) {
  if (auto unwritten = record_allowed(door_, note)) {
    const bool more = co_await refuse(*std::move(unwritten), std::move(note), &head);
    co_return more;
  }
  const auto request = policy::Request::connect(head.url.host, head.url.port);
  UnderWay here(door_.under_way, request, [this] { close(); });
  TunnelResult result;
  auto endpoints = co_await find_addresses(&door_, head.url.host, head.url.port);
  if (here.was_cut() || !guest_.is_open()) {
    write_end(note, {.note = here.was_cut() ? std::string(kCutByReload) : "the guest left"});
    co_return false;
  }
  if (endpoints) {
    tunnel_.emplace(door_, guest_, head.url.host, head.url.port, raw);
    try {
      result = co_await tunnel_->run(*std::move(endpoints));
    } catch (...) {
      write_end(note, {.note = "a fault of the door"});
      throw;
    }
    tunnel_.reset();
    if (here.was_cut()) result.end.note = kCutByReload;
  } else {
    result.refusal = std::move(endpoints).error();
    result.end = {.status = status_of(*result.refusal),
                  .code = std::string(result.refusal->code),
                  .note = result.refusal->detail};
  }
  write_end(note, result.end);
  if (!result.refusal) co_return false;
  const bool more = co_await refuse(*std::move(result.refusal), std::move(note), &head);
  co_return more;
}

/// Whether a client on this port understands an answer that is given inside its CONNECT. Without an
/// authority TLS cannot be answered, and other ports than 80 may well speak that.
bool Session::is_looked_into(std::uint16_t port) const {
  if (!door_.tls_server) return port == policy::kHttpPort;
  return door_.policy.is_web_port(port) || guest_.input().starts_with(kTlsHandshake);
}

/// What is inside a CONNECT is HTTP, over TLS or plain: each request in it is decided by itself. Of a
/// `refused` CONNECT they are refused one by one, and it has a record of its own only where none
/// came.
asio::awaitable<bool> Session::look_inside(http::RequestHead head, RequestNote note,
                                           std::optional<Refusal> refused) {
  note.action = "intercept";
  auto unwritten = refused ? std::nullopt : record_allowed(door_, note);
  if (unwritten) {
    const bool more = co_await refuse(*std::move(unwritten), std::move(note), &head);
    co_return more;
  }
  ExchangeEnd end;
  std::exception_ptr thrown;
  try {
    end = co_await pass_inside(std::move(head), &note, refused.has_value());
  } catch (...) {
    thrown = std::current_exception();
  }
  // After a fault nobody knows whether what was asked inside was recorded: rather twice than never.
  if (refused && (thrown || !(asked_ || (h2_ && h2_->asked())))) {
    if (end.code.empty()) ++door_.stats.denied;
    [[maybe_unused]] const Refusal seen_by_nobody =
        record_refusal(door_, note, *std::move(refused));
  }
  if (thrown) std::rethrow_exception(thrown);
  co_return false;
}

/// Returns how the entry went, when all is over. The end of an allowed CONNECT is written when it is
/// known; that of a `refused` one is left to the caller.
asio::awaitable<ExchangeEnd> Session::pass_inside(http::RequestHead head, const RequestNote* note,
                                                  bool refused) {
  ExchangeEnd end{.note = "the guest left"};
  try {
    const bool answered = co_await guest_.write("HTTP/1.1 200 Connection established\r\n\r\n");
    if (answered) end = co_await enter(std::move(head), note->claim);
  } catch (...) {
    if (!refused) write_end(*note, {.note = "a fault of the door"});
    throw;
  }
  if (!refused) write_end(*note, end);
  bool more = inside_.has_value();
  while (more) more = co_await serve_one();
  co_return end;
}

/// Sets inside_ unless the end tells why not.
asio::awaitable<ExchangeEnd> Session::enter(http::RequestHead head,
                                            std::optional<http::ClientClaim> claim) {
  entering_ = true;
  step_started_ = steady_clock::now();
  if (guest_.input().empty()) {
    const bool came = co_await guest_.read_more();
    if (!came) {
      entering_ = false;
      co_return ExchangeEnd{.status = 200, .note = "the guest left"};
    }
  }
  Inside inside{.scheme = http::Scheme::http,
                .host = head.url.host,
                .port = head.url.port,
                .claim = std::move(claim)};
  if (guest_.input().starts_with(kTlsHandshake)) {
    inside.scheme = http::Scheme::https;
    auto failed = co_await accept_tls(head.url.host);
    if (failed) {
      entering_ = false;
      co_return *std::move(failed);
    }
  }
  entering_ = false;
  inside_ = std::move(inside);
  co_return ExchangeEnd{.status = 200};
}

asio::awaitable<std::expected<http::ClientHello, ExchangeEnd>> Session::read_hello() {
  while (true) {
    const std::string_view input = guest_.input();
    auto hello = http::read_client_hello(
        {reinterpret_cast<const std::uint8_t*>(input.data()), input.size()});
    if (hello.status == http::ClientHello::Status::complete) co_return hello;
    if (hello.status != http::ClientHello::Status::need_more) {
      co_return std::unexpected(
          ExchangeEnd{.code = "invalid_request", .note = "the ClientHello is malformed"});
    }
    const bool came = co_await guest_.read_more();
    if (!came) {
      co_return std::unexpected(
          ExchangeEnd{.note = "the guest left before its ClientHello was complete"});
    }
  }
}

/// Nothing when TLS runs. A name that is not the CONNECT's is refused: what was asked for and what
/// is sent must be one.
asio::awaitable<std::optional<ExchangeEnd>> Session::accept_tls(http::Host host) {
  if (!door_.tls_server) {
    co_await send_alert(40);  // handshake_failure
    co_return ExchangeEnd{.code = "tls_error", .note = "TLS cannot be looked into here"};
  }
  const auto hello = co_await read_hello();
  if (!hello) co_return hello.error();
  const auto name = http::normalise_host(hello->server_name);
  if (!hello->server_name.empty() && (!name || *name != host)) {
    ++door_.stats.denied;
    co_await send_alert(112);  // unrecognized_name
    co_return ExchangeEnd{.code = "denied_by_policy",
                          .note = fmt::format("the ClientHello names {}", hello->server_name)};
  }
  static const std::vector<std::string> kProtocols = {"h2", "http/1.1", "http/1.0"};
  auto stream =
      door_.tls_server->accept(host.name, host.ip.has_value(), kProtocols, guest_.transport());
  if (!stream) co_return ExchangeEnd{.code = "tls_error", .note = stream.error().message};
  const bool agreed = co_await guest_.start_tls(*std::move(stream));
  if (agreed) co_return std::nullopt;
  co_return ExchangeEnd{
      .code = "tls_error",
      .note = "the guest's TLS: " +
              (guest_.tls_error().empty() ? "it left during the handshake" : guest_.tls_error())};
}

/// A fatal one (RFC 8446 §6.2), where no TLS runs yet.
asio::awaitable<void> Session::send_alert(char description) {
  const std::string alert{'\x15', '\x03', '\x03', '\x00', '\x02', '\x02', description};
  [[maybe_unused]] const bool told = co_await guest_.write(alert);
}

bool Session::write_end(const RequestNote& note, const ExchangeEnd& end) {
  const auto written = door_.audit.end(note, end);
  if (!written) log(LogLevel::error, "{}", written.error().message);
  return written.has_value();
}

asio::awaitable<bool> Session::refuse(Refusal refusal, RequestNote note,
                                      const http::RequestHead* head) {
  if (status_of(refusal) < 500) ++door_.stats.denied;
  const bool keep = head != nullptr && can_skip_body(*head) && head->keep_alive && !last_;
  AnswerContext context = answer_context(door_, head, note);
  context.keep_alive = keep;
  const std::string answer = format_answer(refusal, context);
  const bool written = co_await guest_.write(answer);
  if (!written) co_return false;
  if (!keep) {
    co_await linger();
    co_return false;
  }
  const bool skipped = co_await skip_body(head->content_length);
  co_return skipped;
}

/// Reads the body of a refused request that is already on its way, so that the connection can go
/// on.
asio::awaitable<bool> Session::skip_body(std::uint64_t left) {
  while (left > 0) {
    if (guest_.input().empty()) {
      const bool came = co_await guest_.read_more();
      if (!came) co_return false;
    }
    const std::size_t part = std::min<std::uint64_t>(left, guest_.input().size());
    guest_.consume(part);
    left -= part;
  }
  co_return true;
}

/// Closing while the guest still sends would reset the connection and could take our answer with
/// it.
asio::awaitable<void> Session::linger() {
  constexpr std::size_t kMost = std::size_t{4} << 20;
  lingering_ = true;
  step_started_ = steady_clock::now();
  guest_.shutdown_send();
  std::size_t seen = 0;
  while (seen < kMost) {
    guest_.consume(guest_.input().size());
    const bool came = co_await guest_.read_more();
    if (!came) break;
    seen += guest_.input().size();
  }
}

}  // namespace pinhole::pep
