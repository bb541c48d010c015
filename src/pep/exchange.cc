// SPDX-License-Identifier: Apache-2.0
#include "pep/exchange.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "http/header.h"
#include "pep/buffer.h"
#include "pep/masked_head.h"
#include "pep/upstream_proxy.h"
#include "secret/headers.h"

namespace pinhole::pep {

Exchange::Exchange(Door& door) : door_(door), changed_(door.context) {}

asio::awaitable<ExchangeResult> Exchange::run(ExchangeJob job, Client* client) {
  job_ = std::move(job);
  client_ = client;
  job_.via_proxy = goes_through_proxy(door_, job_.head->url.host, job_.head->url.port);
  begin();
  if (auto started = start_transfer(); !started) {
    set_failure("tls_error", started.error().message);
    running_ = false;
    co_return result();
  }
  client_->start_body();
  co_await relay();
  co_await settle();
  running_ = false;
  ExchangeResult ended = result();
  client_ = nullptr;
  job_ = {};
  free_buffer(masked_);
  free_buffer(rewritten_);
  co_return ended;
}

void Exchange::begin() {
  const http::RequestHead& head = *job_.head;
  TransferListener& listener = *this;
  if (!transfer_) transfer_ = std::make_unique<Transfer>(door_.curl, listener);
  BodyQueue& body = client_->body();
  const bool has_body = head.framing == http::Framing::chunked || head.content_length > 0;
  std::optional<std::uint64_t> length;
  if (head.framing == http::Framing::length) length = head.content_length;
  body.begin(has_body, length, job_.limits.request_body);
  body.on_change = [this] { body_changed(); };
  client_->on_room = [this] { transfer_->resume_download(); };
  endpoint_ = 0;
  authority_ = head.url.host.in_url();
  http::Url url = head.url;
  if (job_.headers != nullptr) url.query = job_.query;
  target_ = url.path_and_query();
  started_ = std::chrono::steady_clock::now();
  client_->touch();
  reader_ = ResponseHeadReader(door_.policy.limits().header_bytes);
  trailers_.clear();
  trailer_bytes_ = 0;
  masker_.reset();
  if (job_.masks) masker_.emplace(job_.masks);
  rewritten_.clear();
  digests_.reset();
  if (door_.policy.audit().bodies == policy::AuditSettings::Bodies::digest) digests_.emplace();
  received_ = 0;
  failure_.reset();
  failure_status_ = 0;
  informational_ = 0;
  running_ = true;
  connected_ = continued_ = head_done_ = done_ = guest_gone_ = false;
  build_headers();
}

void Exchange::build_headers() {
  const http::RequestHead& head = *job_.head;
  lines_.clear();
  bool has_accept = false;
  for (const auto& [name, value] :
       http::headers_for_upstream(job_.headers != nullptr ? *job_.headers : head.headers)) {
    lines_.add(name, value);
    has_accept = has_accept || http::iequals(name, "accept");
  }
  // RFC 9110 §10.1.4; over HTTP/2 libcurl leaves Connection out.
  if (head.accepts_trailers) {
    lines_.add("TE", "trailers");
    lines_.add("Connection", "TE");
  }
  // What libcurl would add by itself.
  lines_.suppress("Expect");
  if (!has_accept) lines_.suppress("Accept");
  if (head.framing == http::Framing::length && head.content_length == 0)
    lines_.add("Content-Length", "0");
}

Result<void> Exchange::start_transfer() {
  const http::RequestHead& head = *job_.head;
  const BodyQueue& body = client_->body();
  TransferRequest request{.tls = head.url.scheme == http::Scheme::https,
                          .host = authority_,
                          .port = head.url.port,
                          .connect_to = job_.endpoints[endpoint_],
                          .via_proxy = job_.via_proxy,
                          .method = head.method,
                          .target = target_,
                          .headers = &lines_,
                          .has_body = !body.complete() || body.bytes() > 0,
                          .connect_timeout = door_.times.connect};
  if (head.framing == http::Framing::length && !job_.rewriter)
    request.body_length = head.content_length;
  if (request.tls) {
    PINHOLE_TRY(request.trust, door_.trust.find(door_.policy.ca_file(head.url.host)));
  }
  transfer_->start(request);
  return {};
}

asio::awaitable<void> Exchange::relay() {
  while (true) {
    co_await changed_.wait();
    if (guest_gone_) break;
    if (is_grpc_over()) {
      transfer_->cancel();
      on_done(std::nullopt);
    }
    if (client_->has_output()) {
      const bool written = co_await client_->flush();
      if (!written) break;
    }
    if (done_ && try_next_endpoint()) continue;
    if (done_ && !client_->has_output()) co_return;
    if (client_->has_output()) changed_.notify();
  }
  guest_gone_ = true;
  transfer_->cancel();
}

/// A call's status ends it, whatever the client still had to say; libcurl would wait for that
/// (and after an answer with a body it does: 7.88 reports no trailers before the upload ended). In
/// other exchanges the rest of the body may be wanted.
bool Exchange::is_grpc_over() const {
  if (!head_done_ || done_ || client_->body().complete()) return false;
  const ResponseHead& head = reader_.head();
  const std::string* type = http::find_header(head.headers, "content-type");
  const bool is_grpc = head.is_h2 && type != nullptr && type->starts_with("application/grpc");
  return is_grpc &&
         (!trailers_.empty() || http::find_header(head.headers, "grpc-status") != nullptr);
}

bool Exchange::try_next_endpoint() {
  const bool again =
      failure_ && failure_->before_connection && endpoint_ + 1 < job_.endpoints.size();
  if (!again) return false;
  ++endpoint_;
  failure_.reset();
  done_ = false;
  if (auto started = start_transfer(); !started) {
    set_failure("tls_error", started.error().message);
    done_ = true;
    return false;
  }
  return true;
}

asio::awaitable<void> Exchange::settle() {
  if (transfer_) transfer_->cancel();  // does nothing to one that is done
  if (client_ == nullptr) co_return;
  co_await client_->stop_body();
  client_->body().on_change = nullptr;
  client_->on_room = nullptr;
}

ExchangeResult Exchange::result() {
  ExchangeResult out;
  out.end.address = http::to_string(job_.endpoints[endpoint_]);
  out.end.sent = client_->body().bytes();
  out.end.received = received_;
  if (job_.rewriter) out.end.secrets = job_.rewriter->used();
  if (head_done_) out.end.status = reader_.head().status;
  if (digests_) {
    if (client_->body().bytes() > 0) out.end.request_digest = digests_->request.finish_hex();
    if (received_ > 0) out.end.response_digest = digests_->response.finish_hex();
  }
  if (guest_gone_) out.end.note = "the guest left";
  // Texts of an origin that knows a secret may hold it, also cut so that it would not be found.
  const bool is_origins =
      failure_ && (failure_->code == "upstream_error" || failure_->code == "tls_error");
  if (is_origins && job_.masks)
    failure_->message = "the details are left out, because the origin may know a secret";
  if (failure_) {
    out.end.code = failure_->code;
    out.end.note = failure_->message;
    if (!head_done_ && !guest_gone_) {
      out.refusal =
          Refusal{.code = failure_->code, .status = failure_status_, .detail = failure_->message};
      out.end.status = status_of(*out.refusal);
    }
  }
  out.whole = done_ && !failure_ && !guest_gone_;
  return out;
}

void Exchange::on_connected() {
  connected_ = true;
  client_->touch();
  if (!job_.head->expects_continue || client_->body().complete() || continued_) return;
  continued_ = true;
  client_->informational({.status = 100, .reason = "Continue"});
  changed_.notify();
}

bool Exchange::on_head_line(std::string_view line) {
  client_->touch();
  if (head_done_) return take_trailer(line);
  const auto complete = reader_.add_line(line);
  if (!complete) {
    set_failure(complete.error().code, complete.error().message);
    return false;
  }
  return *complete ? take_head() : true;
}

/// Trailers that do not fit or are broken are dropped: nothing depends on them (RFC 9110 §6.5.1).
/// Those that never end are no end of an answer.
bool Exchange::take_trailer(std::string_view line) {
  constexpr std::size_t kMostBytes = std::size_t{8} << 10;
  constexpr std::size_t kMost = 32;
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  trailer_bytes_ += line.size();
  const std::size_t most_ever = door_.policy.limits().header_bytes;
  if (trailer_bytes_ > most_ever) {
    set_failure("constraint_violation",
                fmt::format("the origin's trailers are over {} bytes", most_ever));
    return false;
  }
  if (line.empty() || trailers_.size() >= kMost || trailer_bytes_ > kMostBytes) return true;
  if (auto field = http::parse_header_line(line)) trailers_.push_back(*std::move(field));
  return true;
}

bool Exchange::take_head() {
  const ResponseHead& head = reader_.head();
  if (head.status == 101) {
    set_failure("upstream_error", "the origin switched protocols without being asked");
    return false;
  }
  if (head.status < 200 && ++informational_ > kMostInformational) {
    set_failure("constraint_violation",
                fmt::format("the origin sent more than {} interim answers", kMostInformational));
    return false;
  }
  if (head.status < 200) {  // early hints and the like; our own 100 was sent by on_connected()
    ResponseHead hint = head;
    if (job_.masks) mask_interim_head(*job_.masks, hint);
    if (head.status != 100) client_->informational(hint);
    changed_.notify();
    return true;
  }
  const auto framing = choose_framing(head, job_.head->method, 1);
  const std::uint64_t length = head.content_length.value_or(0);
  if (framing == ResponseFraming::length && length > job_.limits.response_body) {
    set_failure("constraint_violation",
                fmt::format("the answer's body of {} bytes is over the limit of {} bytes", length,
                            job_.limits.response_body));
    return false;
  }
  if (!job_.masks) return give_head(head);
  ResponseHead masked = head;
  if (auto done = mask_final_head(*job_.masks, job_.head->method, masked); !done) {
    set_failure(done.error().code, done.error().message);
    return false;
  }
  return give_head(masked);
}

bool Exchange::give_head(const ResponseHead& head) {
  // To HTTP/1.0 only the end of the connection could tell the end of such an answer, and without TLS
  // a cut one would end alike.
  const http::RequestHead& asked = *job_.head;
  const bool has_tls = asked.form == http::Form::origin && asked.url.scheme == http::Scheme::https;
  if (!has_tls &&
      choose_framing(head, asked.method, asked.minor_version) == ResponseFraming::close) {
    set_failure("upstream_error",
                "the length of the answer is not known, and a client of HTTP/1.0 could not tell "
                "whether it is whole: ask with HTTP/1.1");
    return false;
  }
  head_done_ = true;
  client_->head(head);
  changed_.notify();
  return true;
}

BodyTaken Exchange::on_body(std::string_view bytes) {
  if (!client_->has_room()) return BodyTaken::later;
  client_->touch();
  received_ += bytes.size();
  body_came_ = std::chrono::steady_clock::now();
  if (received_ > job_.limits.response_body) {
    set_failure(
        "constraint_violation",
        fmt::format("the answer's body is over the limit of {} bytes", job_.limits.response_body));
    return BodyTaken::refused;
  }
  if (digests_) digests_->response.update(bytes);
  give(bytes);
  changed_.notify();
  return BodyTaken::taken;
}

void Exchange::give(std::string_view bytes) {
  if (!masker_) return client_->body(bytes);
  masked_.clear();
  masker_->feed(bytes, masked_);
  if (!masked_.empty()) client_->body(masked_);
}

/// A message that ends like a secret begins would wait for more, and its reader with it.
void Exchange::release_held(std::chrono::steady_clock::time_point now) {
  constexpr std::chrono::milliseconds kQuiet{200};
  if (!masker_ || !head_done_ || done_ || now - body_came_ < kQuiet) return;
  masked_.clear();
  masker_->release(masked_);
  if (masked_.empty()) return;
  client_->body(masked_);
  changed_.notify();
}

void Exchange::finish_answer() {
  if (masker_) {
    masked_.clear();
    masker_->finish(masked_);
    if (!masked_.empty()) client_->body(masked_);
  }
  auto trailers = http::headers_for_client(trailers_);
  if (job_.masks) {
    secret::mask_headers(*job_.masks, trailers);
    secret::drop_fields_about_bytes(trailers);
  }
  client_->end(trailers);
}

UploadChunk Exchange::on_upload(std::span<char> room) {
  const UploadChunk chunk = next_upload(room);
  if (digests_ && chunk.state == UploadState::data)
    digests_->request.update(std::string_view(room.data(), chunk.size));
  return chunk;
}

UploadChunk Exchange::next_upload(std::span<char> room) {
  client_->touch();
  BodyQueue& body = client_->body();
  if (!job_.rewriter) return body.take(room);
  // Bounded by one piece: more is taken only when the last one is gone.
  std::string piece(room.size(), '\0');
  while (rewritten_.empty()) {
    const UploadChunk chunk = body.take(piece);
    if (chunk.state == UploadState::end) {
      job_.rewriter->finish(rewritten_);
      if (rewritten_.empty()) return chunk;
    } else if (chunk.state != UploadState::data) {
      return chunk;
    } else {
      job_.rewriter->feed(std::string_view(piece).substr(0, chunk.size), rewritten_);
    }
  }
  const std::size_t count = std::min(room.size(), rewritten_.size());
  std::memcpy(room.data(), rewritten_.data(), count);
  rewritten_.erase(0, count);
  return {.state = UploadState::data, .size = count};
}

void Exchange::body_changed() {
  if (client_->body().failed() && !done_) {
    transfer_->cancel();  // the origin sees a broken connection, never a shorter body
    on_done(std::nullopt);
  } else {
    transfer_->resume_upload();
  }
  changed_.notify();
}

void Exchange::on_done(const std::optional<TransferFailure>& failure) {
  done_ = true;
  BodyQueue& body = client_->body();
  if (body.guest_left()) guest_gone_ = true;
  if (guest_gone_) return changed_.notify();
  if (const auto& refusal = body.refusal()) {
    set_failure(refusal->code, refusal->detail);
    failure_status_ = refusal->status;
  }
  if (failure && !failure_) failure_ = failure;
  if (!failure_ && !head_done_) set_failure("upstream_error", "the origin ended without an answer");
  if (!failure_) finish_answer();
  changed_.notify();
}

void Exchange::set_failure(std::string_view code, std::string message) {
  if (failure_) return;
  failure_ = TransferFailure{.code = std::string(code), .message = std::move(message)};
  if (code == "constraint_violation")
    failure_status_ = 502;  // on_done() knows better for an upload
}

void Exchange::check_deadline(std::chrono::steady_clock::time_point now) {
  if (!running_ || guest_gone_) return;
  release_held(now);
  if (done_) {  // what is left is the guest's to read
    if (now - client_->last_activity() > door_.policy.limits().idle) {
      set_failure("timeout", "the guest does not read its answer");
      client_->abort();  // also ends a write that waits for it
      changed_.notify();
    }
    return;
  }
  const bool asked = client_->body().complete() && !head_done_;
  const auto limit = asked ? door_.times.first_byte : door_.policy.limits().idle;
  const auto seconds = [](std::chrono::milliseconds time) {
    return static_cast<double>(time.count()) / 1000;
  };
  if (now - started_ > door_.times.total) {
    time_out(fmt::format("the exchange took more than {} s in total", seconds(door_.times.total)));
  } else if (connected_ && now - client_->last_activity() > limit) {
    time_out(asked ? fmt::format("no first byte from the origin in {} s", seconds(limit))
                   : fmt::format("idle: no byte moved for {} s", seconds(limit)));
  }
}

void Exchange::time_out(std::string message) {
  transfer_->cancel();
  set_failure("timeout", std::move(message));
  done_ = true;
  if (head_done_) client_->abort();
  changed_.notify();
}

void Exchange::guest_gone() {
  guest_gone_ = true;
  // At once, and not when a write that the guest does not take is over.
  if (running_ && transfer_) transfer_->cancel();
  changed_.notify();
}

}  // namespace pinhole::pep
