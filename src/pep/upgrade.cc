// SPDX-License-Identifier: Apache-2.0
#include "pep/upgrade.h"

#include <algorithm>
#include <utility>

#include "http/chunked.h"
#include "pep/masked_head.h"
#include "pep/websocket_handshake.h"

namespace pinhole::pep {
namespace {

/// An extension would make what the origin says unreadable (permessage-deflate does).
constexpr std::string_view kExtensions = "sec-websocket-extensions";

bool names(const std::vector<http::Header>& headers, std::string_view field,
           std::string_view value) {
  return std::ranges::any_of(http::list_values(headers, field),
                             [&](std::string_view part) { return http::iequals(part, value); });
}

}  // namespace

asio::awaitable<ExchangeResult> Upgrade::run(ExchangeJob job, Client* client) {
  job_ = std::move(job);
  client_ = client;
  client_->body().begin(false, std::nullopt, 0);
  reader_ = ResponseHeadReader(door_.policy.limits().header_bytes);
  running_ = true;
  auto failure = co_await carry();
  running_ = false;
  if (origin_) origin_->close();
  co_return result(std::move(failure));
}

asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::carry() {
  const http::Url& url = job_.head->url;
  dial_.emplace(door_, url.host, url.port);
  auto dialled = co_await dial_->run(job_.endpoints, url.scheme == http::Scheme::https);
  if (!dialled) {
    co_return Failure{.code = std::string(dialled.error().code), .detail = dialled.error().detail};
  }
  origin_ = *std::move(dialled);
  const std::string text = request_text();
  asked_ = Clock::now();
  const bool sent = co_await origin_->write(text);
  if (!sent) co_return origin_gone();
  auto failure = co_await read_head();
  asked_.reset();
  guest_.touch();
  if (failure) co_return failure;
  if (reader_.head().status == 101) {
    failure = co_await switch_protocols();
  } else {
    failure = co_await pass_answer();
  }
  co_return failure;
}

std::string Upgrade::request_text() const {
  const http::RequestHead& head = *job_.head;
  http::Url url = head.url;
  if (job_.headers != nullptr) url.query = job_.query;
  std::string text =
      fmt::format("GET {} HTTP/1.1\r\nHost: {}", url.path_and_query(), url.host.in_url());
  if (url.port != http::default_port(url.scheme)) text += fmt::format(":{}", url.port);
  text += "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  for (const auto& [name, value] :
       http::headers_for_upstream(job_.headers != nullptr ? *job_.headers : head.headers)) {
    if (job_.masks && http::iequals(name, kExtensions)) continue;
    text.append(name).append(": ").append(value).append("\r\n");
  }
  return text + "\r\n";
}

/// What input() of the origin has grown by; or why nothing comes.
asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::more_from_origin() {
  const bool came = co_await origin_->read_more();
  if (came) co_return std::nullopt;
  co_return origin_gone();
}

Upgrade::Failure Upgrade::origin_gone() const {
  if (!timed_out_.empty()) return Failure{.code = "timeout", .detail = timed_out_};
  return Failure{.code = "upstream_error",
                 .detail = "the origin closed the connection before its answer was complete"};
}

/// To the end of the first head that is not interim.
asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::read_head() {
  while (true) {
    const std::string_view input = origin_->input();
    const std::size_t end = input.find('\n');
    if (end == std::string_view::npos) {
      if (input.size() > door_.policy.limits().header_bytes) {
        co_return Failure{.code = "constraint_violation",
                          .detail = "a header line of the origin is too long",
                          .status = 502};
      }
      auto failure = co_await more_from_origin();
      if (failure) co_return failure;
      continue;
    }
    const auto complete = reader_.add_line(input.substr(0, end + 1));
    origin_->consume(end + 1);
    if (!complete) {
      co_return Failure{
          .code = complete.error().code, .detail = complete.error().message, .status = 502};
    }
    if (!*complete) continue;
    const int status = reader_.head().status;
    if (status == 101 || status >= 200) co_return std::nullopt;
    auto failure = co_await take_interim();
    if (failure) co_return failure;
  }
}

asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::take_interim() {
  constexpr int kMost = 32;
  if (++informational_ > kMost) {
    co_return Failure{.code = "constraint_violation",
                      .detail = fmt::format("the origin sent more than {} interim answers", kMost),
                      .status = 502};
  }
  ResponseHead head = reader_.head();
  if (job_.masks) mask_interim_head(*job_.masks, head);
  client_->informational(head);
  co_await tell_guest(client_->flush());
  co_return std::nullopt;
}

asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::switch_protocols() {
  ResponseHead head = reader_.head();
  const std::string* key = http::find_header(job_.head->headers, "sec-websocket-key");
  const std::string* accept = http::find_header(head.headers, "sec-websocket-accept");
  const bool as_asked = names(head.headers, "upgrade", "websocket") &&
                        names(head.headers, "connection", "upgrade") && key != nullptr &&
                        accept != nullptr && *accept == websocket_accept(*key);
  const bool extended = http::find_header(head.headers, kExtensions) != nullptr;
  if (!as_asked || (extended && job_.masks)) {
    co_return Failure{
        .code = "upstream_error",
        .detail = as_asked ? "the origin uses an extension that was not offered"
                           : "the origin's 101 does not agree to the WebSocket that was asked for"};
  }
  if (job_.masks) mask_interim_head(*job_.masks, head);
  std::string text =
      "HTTP/1.1 101 " + head.reason + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  for (const auto& [name, value] : http::headers_for_client(head.headers))
    text.append(name).append(": ").append(value).append("\r\n");
  text += "\r\n";
  head_done_ = true;
  co_await tell_guest(guest_.write(text));
  if (guest_gone_) co_return std::nullopt;

  Relay::Filter filter;
  if (job_.masks) {
    filter = [frames = std::make_shared<WebSocketMasker>(job_.masks)](
                 std::string_view bytes, std::string& out) { return frames->feed(bytes, out); };
  }
  relay_.emplace(guest_, *origin_,
                 RelayLimits{.idle = door_.policy.limits().idle,
                             .total = door_.times.total,
                             .sent = job_.limits.request_body,
                             .received = job_.limits.response_body},
                 std::move(filter),
                 [guard = std::make_shared<WebSocketGuard>(extended)](std::string_view bytes) {
                   return guard->look(bytes);
                 });
  co_await relay_->run();
  if (relay_->code().empty()) co_return std::nullopt;
  co_return Failure{.code = relay_->code(), .detail = relay_->note()};
}

asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::pass_answer() {
  ResponseHead head = reader_.head();
  if (job_.masks) {
    masker_.emplace(job_.masks);
    if (auto masked = mask_final_head(*job_.masks, job_.head->method, head); !masked)
      co_return Failure{.code = masked.error().code, .detail = masked.error().message};
  }
  const ResponseHead& told = reader_.head();
  const bool has_length = choose_framing(told, job_.head->method, 1) == ResponseFraming::length;
  if (has_length && told.content_length.value_or(0) > job_.limits.response_body) {
    co_return Failure{.code = "constraint_violation",
                      .detail = fmt::format("the answer's body is over the limit of {} bytes",
                                            job_.limits.response_body),
                      .status = 502};
  }
  head_done_ = true;
  client_->head(head);
  auto failure = co_await pass_body(reader_.head());
  if (failure) co_return failure;
  if (masker_) {
    std::string rest;
    masker_->finish(rest);
    client_->body(rest);
  }
  client_->end({});
  while (!guest_gone_ && client_->has_output()) {
    co_await tell_guest(client_->flush());
  }
  whole_ = !guest_gone_;
  co_return std::nullopt;
}

/// `write` is one to the guest, which nothing but closing the connection ends early.
asio::awaitable<void> Upgrade::tell_guest(asio::awaitable<bool> write) {
  telling_ = true;
  const bool written = co_await std::move(write);
  telling_ = false;
  if (!written) guest_gone_ = true;
}

/// With the framing that the origin's `head` tells.
asio::awaitable<std::optional<Upgrade::Failure>> Upgrade::pass_body(ResponseHead head) {
  if (choose_framing(head, job_.head->method, 1) == ResponseFraming::none) co_return std::nullopt;
  std::uint64_t left = head.content_length.value_or(0);
  http::ChunkedDecoder chunks;
  while (head.chunked || !head.content_length || left > 0) {
    const std::string_view input = origin_->input();
    http::ChunkedDecoder::Step step{.consumed = input.size(), .data = input};
    if (head.chunked && !input.empty()) {
      const auto next = chunks.next(input);
      if (!next) co_return Failure{.code = "upstream_error", .detail = next.error().detail};
      step = *next;
    } else if (head.content_length) {
      step.consumed = std::min<std::uint64_t>(left, input.size());
      step.data = input.substr(0, step.consumed);
      left -= step.consumed;
    }
    auto refused = give(step.data);
    if (refused) co_return refused;
    origin_->consume(step.consumed);
    if (step.done) co_return std::nullopt;
    co_await tell_guest(client_->flush());
    if (guest_gone_) co_return std::nullopt;
    if (step.consumed > 0 && !origin_->input().empty()) continue;
    if (head.content_length && left == 0) break;
    auto failure = co_await more_from_origin();
    const bool ends_by_closing = !head.chunked && !head.content_length && origin_->at_end();
    if (failure && ends_by_closing) co_return std::nullopt;
    if (failure) co_return failure;
  }
  co_return std::nullopt;
}

std::optional<Upgrade::Failure> Upgrade::give(std::string_view bytes) {
  received_ += bytes.size();
  if (received_ > job_.limits.response_body) {
    return Failure{.code = "constraint_violation",
                   .detail = fmt::format("the answer's body is over the limit of {} bytes",
                                         job_.limits.response_body),
                   .status = 502};
  }
  if (!masker_) {
    client_->body(bytes);
    return std::nullopt;
  }
  std::string masked;
  masker_->feed(bytes, masked);
  client_->body(masked);
  return std::nullopt;
}

ExchangeResult Upgrade::result(std::optional<Failure> failure) {
  ExchangeResult out{.end = {}, .refusal = {}, .whole = whole_ && !failure};
  out.end.address = dial_->address();
  out.end.sent = relay_ ? relay_->sent() : 0;
  out.end.received = relay_ ? relay_->received() : received_;
  if (head_done_) out.end.status = reader_.head().status;
  if (!timed_out_.empty()) failure = Failure{.code = "timeout", .detail = timed_out_};
  if (guest_gone_ && timed_out_.empty()) {
    out.end.note = "the guest left";
    return out;
  }
  if (!failure) return out;
  // As in Exchange: texts of an origin that knows a secret may hold it.
  const bool is_origins = failure->code == "upstream_error" || failure->code == "tls_error";
  if (is_origins && job_.masks)
    failure->detail = "the details are left out, because the origin may know a secret";
  out.end.code = failure->code;
  out.end.note = failure->detail;
  if (head_done_) return out;
  // The code has to outlive us.
  static constexpr std::string_view kCodes[] = {"upstream_error", "tls_error", "timeout",
                                                "connect_error", "constraint_violation"};
  const auto* code = std::ranges::find(kCodes, failure->code);
  out.refusal = Refusal{.code = code == std::end(kCodes) ? kCodes[0] : *code,
                        .status = failure->status,
                        .detail = std::move(failure->detail)};
  out.end.status = status_of(*out.refusal);
  return out;
}

void Upgrade::check_deadline(Clock::time_point now) {
  if (relay_) return relay_->check_deadline(now);
  if (!origin_ || !timed_out_.empty()) return;
  const auto limit = asked_ ? door_.times.first_byte : door_.policy.limits().idle;
  const bool late = now - started_ > door_.times.total;
  if (!late && now - (asked_ ? *asked_ : guest_.last_activity()) <= limit) return;
  timed_out_ = late     ? "it took too long in total"
               : asked_ ? "no answer from the origin in time"
                        : "idle: no byte moved in time";
  origin_->close();
  if (head_done_ || telling_) guest_.close();  // nothing else reaches it in time
}

void Upgrade::guest_hung_up() {
  if (relay_) return relay_->guest_gone();
  guest_gone();
}

void Upgrade::guest_gone() {
  guest_gone_ = true;
  cut();
}

void Upgrade::cut() {
  if (dial_) dial_->cut();
  if (origin_) origin_->close();
  guest_.close();
}

}  // namespace pinhole::pep
