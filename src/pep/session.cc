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

bool prefers_html(const http::RequestHead& head) {
  const auto accepted = http::list_values(head.headers, "accept");
  return std::ranges::any_of(accepted, [](std::string_view type) {
    return http::iequals(type.substr(0, type.find(';')), "text/html");
  });
}

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

std::string url_for_audit(const http::RequestHead& head) {
  if (head.is_connect()) return fmt::format("{}:{}", head.url.host.in_url(), head.url.port);
  return audit::redact_url(head.url.text());
}

}  // namespace

Session::Session(Door& door, asio::local::stream_protocol::socket socket)
    : door_(door), guest_(std::move(socket)), exchange_(door, guest_) {
  head_limits_.head_bytes = door.policy.limits().header_bytes;
}

asio::awaitable<void> Session::run() {
  watch_hangup();
  std::exception_ptr thrown;
  try {
    bool more = true;
    while (more) more = co_await serve_one();
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
  guest_.socket().async_wait(asio::local::stream_protocol::socket::wait_error,
                             [self = shared_from_this()](error_code error) {
                               if (error) return;
                               if (self->tunnel_) return self->tunnel_->guest_gone();
                               self->close();
                             });
}

bool Session::can_be_closed(steady_clock::time_point now) const {
  constexpr std::chrono::seconds kSlowStart{1};
  return is_idle() && (served_ || now - guest_.last_activity() > kSlowStart);
}

void Session::close() {
  guest_.close();
  if (exchange_.running()) exchange_.guest_gone();
  if (tunnel_) tunnel_->cut();
}

void Session::finish_soon() {
  last_ = true;
  if (is_idle()) close();
}

void Session::check_deadline(steady_clock::time_point now) {
  if (exchange_.running()) return exchange_.check_deadline(now);
  if (tunnel_) return tunnel_->check_deadline(now);
  if (is_idle()) {
    if (now - guest_.last_activity() > door_.policy.limits().idle) close();
  } else if (waiting_) {
    if (now - step_started_ > door_.times.request_head) close();
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
    const auto found = http::find_head_end(guest_.input(), head_limits_, checked);
    if (!found) co_return std::unexpected(found.error());
    if (const auto& end = *found) {
      auto head = http::parse_proxy_request(guest_.input().substr(0, *end), head_limits_);
      if (!head) co_return std::unexpected(std::move(head).error());
      guest_.consume(*end);
      waiting_ = false;
      co_return *std::move(head);
    }
    checked = guest_.input().size();
    if (checked == 0) step_started_ = steady_clock::now();
    const bool came = co_await guest_.read_more();
    if (!came) co_return std::nullopt;
    if (checked == 0) step_started_ = steady_clock::now();
  }
}

RequestNote Session::begin_request() {
  served_ = true;
  ++door_.stats.requests;
  return {.id = door_.audit.next_id()};
}

asio::awaitable<bool> Session::serve_one() {
  auto read = co_await read_head();
  waiting_ = false;
  if (!read) {
    const http::Fault& fault = read.error();
    RequestNote unread = begin_request();
    Refusal refusal = record_refusal(
        door_, unread, {.code = fault.code, .status = fault.status, .detail = fault.detail});
    [[maybe_unused]] const bool more =
        co_await refuse(std::move(refusal), std::move(unread), nullptr);
    co_return false;
  }
  std::optional<http::RequestHead>& came = *read;
  if (!came) co_return false;
  http::RequestHead head = *std::move(came);
  RequestNote note = begin_request();
  note.method = head.method;
  note.url = url_for_audit(head);
  if (head.is_connect()) {
    const bool more = co_await serve_connect(std::move(head), std::move(note));
    co_return more;
  }
  const bool more = co_await serve_request(std::move(head), std::move(note));
  co_return more;
}

asio::awaitable<bool> Session::serve_request(http::RequestHead head, RequestNote note) {
  if (head.method == "HEAD" && has_body(head)) {
    Refusal refusal = record_refusal(
        door_, note, {.code = "invalid_request", .detail = "a HEAD request with a body"});
    const bool more = co_await refuse(std::move(refusal), std::move(note), &head);
    co_return more;
  }
  const policy::Request request = policy::Request::of(head);
  auto verdict = decide(door_, request, note, head.content_length);
  if (!verdict) {
    const bool more = co_await refuse(std::move(verdict).error(), std::move(note), &head);
    co_return more;
  }
  UnderWay here(door_.under_way, request, [this] { close(); });
  auto endpoints = co_await find_addresses(&door_, head.url.host, head.url.port);
  if (!endpoints) {
    Refusal& refusal = endpoints.error();
    write_end(
        note,
        {.status = status_of(refusal), .code = std::string(refusal.code), .note = refusal.detail});
    const bool more = co_await refuse(std::move(refusal), std::move(note), &head);
    co_return more;
  }
  if (!guest_.is_open()) {
    write_end(note, {.note = "the guest left"});
    co_return false;
  }
  ExchangeJob job{.head = &head, .limits = verdict->limits, .endpoints = *std::move(endpoints)};
  ExchangeResult result = co_await exchange_.run(std::move(job));
  if (here.was_cut()) result.end.note = kCutByReload;
  const bool written = write_end(note, result.end);
  if (!result.refusal) co_return result.keep_alive&& written && !last_;
  const bool more = co_await refuse(*std::move(result.refusal), std::move(note),
                                    has_body(head) ? nullptr : &head);
  co_return more;
}

asio::awaitable<bool> Session::serve_connect(http::RequestHead head, RequestNote note) {
  const auto request = policy::Request::connect(head.url.host, head.url.port);
  auto verdict = decide(door_, request, note, 0);
  if (!verdict) {
    const bool more = co_await refuse(std::move(verdict).error(), std::move(note), &head);
    co_return more;
  }
  UnderWay here(door_.under_way, request, [this] { close(); });
  TunnelResult result;
  auto endpoints = co_await find_addresses(&door_, head.url.host, head.url.port);
  if (endpoints) {
    tunnel_.emplace(door_, guest_, head.url.host, head.url.port);
    result = co_await tunnel_->run(*std::move(endpoints));
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

bool Session::write_end(const RequestNote& note, const ExchangeEnd& end) {
  const auto written = door_.audit.end(note, end);
  if (!written) log(LogLevel::error, "{}", written.error().message);
  return written.has_value();
}

asio::awaitable<bool> Session::refuse(Refusal refusal, RequestNote note,
                                      const http::RequestHead* head) {
  if (status_of(refusal) < 500) ++door_.stats.denied;
  const bool keep = head != nullptr && can_skip_body(*head) && head->keep_alive && !last_;
  const std::string answer =
      format_answer(refusal, {.method = note.method,
                              .policy = door_.policy.hash(),
                              .request = note.id,
                              .wants_html = head != nullptr && prefers_html(*head),
                              .keep_alive = keep});
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
