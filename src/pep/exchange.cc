// SPDX-License-Identifier: Apache-2.0
#include "pep/exchange.h"

#include <iterator>
#include <utility>

#include "base/log.h"
#include "http/chunked.h"
#include "http/header.h"
#include "pep/upstream_proxy.h"

namespace pinhole::pep {
namespace {

/// Buffers larger than this are given back after an exchange.
constexpr std::size_t kKeptBuffer = std::size_t{32} << 10;

void give_back(std::string& buffer) {
  if (buffer.capacity() > kKeptBuffer) {
    buffer = {};
  } else {
    buffer.clear();
  }
}

}  // namespace

Exchange::Exchange(Door& door, Guest& guest)
    : door_(door), guest_(guest), changed_(door.context), upload_(door.context, guest) {}

asio::awaitable<ExchangeResult> Exchange::run(ExchangeJob job) {
  job_ = std::move(job);
  job_.via_proxy = goes_through_proxy(door_, job_.head->url.host, job_.head->url.port);
  begin();
  if (auto started = start_transfer(); !started) {
    set_failure("tls_error", started.error().message);
    running_ = false;
    co_return result();
  }
  if (!upload_.complete()) {
    uploading_ = true;
    auto pump = upload_.pump([this] { upload_moved(); });
    asio::co_spawn(door_.context, std::move(pump), [this](const std::exception_ptr& thrown) {
      if (thrown) guest_gone_ = true;
      uploading_ = false;
      changed_.notify();
    });
  }
  co_await relay();
  co_await settle();
  running_ = false;
  ExchangeResult ended = result();
  give_back(out_);
  give_back(writing_);
  co_return ended;
}

void Exchange::begin() {
  const http::RequestHead& head = *job_.head;
  TransferListener& listener = *this;
  if (!transfer_) transfer_ = std::make_unique<Transfer>(door_.curl, listener);
  upload_.begin(head.framing, head.content_length, job_.limits.request_body);
  endpoint_ = 0;
  authority_ = head.url.host.in_url();
  target_ = head.url.path_and_query();
  started_ = std::chrono::steady_clock::now();
  guest_.touch();
  reader_ = ResponseHeadReader(door_.policy.limits().header_bytes);
  framing_ = ResponseFraming::none;
  received_ = 0;
  failure_.reset();
  failure_status_ = 0;
  running_ = true;
  connected_ = head_done_ = keep_alive_ = done_ = guest_gone_ = false;
  build_headers();
}

void Exchange::build_headers() {
  const http::RequestHead& head = *job_.head;
  lines_.clear();
  bool has_accept = false;
  for (const auto& [name, value] : http::headers_for_upstream(head.headers)) {
    lines_.add(name, value);
    has_accept = has_accept || http::iequals(name, "accept");
  }
  // What libcurl would add by itself.
  lines_.suppress("Expect");
  if (!has_accept) lines_.suppress("Accept");
  if (head.framing == http::Framing::length && head.content_length == 0)
    lines_.add("Content-Length", "0");
}

Result<void> Exchange::start_transfer() {
  const http::RequestHead& head = *job_.head;
  TransferRequest request{.tls = head.url.scheme == http::Scheme::https,
                          .host = authority_,
                          .port = head.url.port,
                          .connect_to = job_.endpoints[endpoint_],
                          .via_proxy = job_.via_proxy,
                          .method = head.method,
                          .target = target_,
                          .headers = &lines_,
                          .has_body = !upload_.complete() || upload_.bytes() > 0,
                          .connect_timeout = door_.times.connect};
  if (head.framing == http::Framing::length) request.body_length = head.content_length;
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
    if (!out_.empty()) {
      std::swap(out_, writing_);
      transfer_->resume_download();  // fills the other buffer meanwhile
      const bool written = co_await guest_.write(writing_);
      writing_.clear();
      if (!written) break;
    }
    if (done_ && try_next_endpoint()) continue;
    if (done_ && out_.empty()) co_return;
    if (!out_.empty()) changed_.notify();
  }
  guest_gone_ = true;
  transfer_->cancel();
}

bool Exchange::try_next_endpoint() {
  const bool again =
      failure_ && failure_->before_connection && endpoint_ + 1 < job_.endpoints.size();
  if (!again) return false;
  ++endpoint_;
  failure_.reset();
  done_ = false;
  return start_transfer().has_value();
}

asio::awaitable<void> Exchange::settle() {
  if (transfer_) transfer_->cancel();  // does nothing to one that is done
  if (uploading_) upload_.stop();
  while (uploading_) co_await changed_.wait();
}

ExchangeResult Exchange::result() {
  ExchangeResult out;
  out.end.address = http::to_string(job_.endpoints[endpoint_]);
  out.end.sent = upload_.bytes();
  out.end.received = received_;
  if (head_done_) out.end.status = reader_.head().status;
  if (guest_gone_) out.end.note = "the guest left";
  if (failure_) {
    out.end.code = failure_->code;
    out.end.note = failure_->message;
    if (!head_done_ && !guest_gone_) {
      out.refusal =
          Refusal{.code = failure_->code, .status = failure_status_, .detail = failure_->message};
      out.end.status = status_of(*out.refusal);
    }
  }
  const bool whole = done_ && !failure_ && !guest_gone_;
  out.keep_alive = whole && keep_alive_ && upload_.complete();
  return out;
}

void Exchange::on_connected() {
  connected_ = true;
  guest_.touch();
  if (!job_.head->expects_continue || upload_.complete() || !out_.empty()) return;
  out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  changed_.notify();
}

bool Exchange::on_head_line(std::string_view line) {
  if (head_done_) return true;  // a trailer; a proxy may drop those (RFC 9110 §6.5.1)
  guest_.touch();
  const auto complete = reader_.add_line(line);
  if (!complete) {
    set_failure(complete.error().code, complete.error().message);
    return false;
  }
  return *complete ? take_head() : true;
}

bool Exchange::take_head() {
  const ResponseHead& head = reader_.head();
  const int guest_version = job_.head->minor_version;
  if (head.status == 101) {
    set_failure("upstream_error", "the origin switched protocols without being asked");
    return false;
  }
  if (head.status < 200) {  // early hints and the like; our own 100 was sent by on_connected()
    if (head.status != 100 && guest_version > 0) append_response_head(out_, head, {});
    changed_.notify();
    return true;
  }
  framing_ = choose_framing(head, job_.head->method, guest_version);
  const std::uint64_t length = head.content_length.value_or(0);
  if (framing_ == ResponseFraming::length && length > job_.limits.response_body) {
    set_failure("constraint_violation",
                fmt::format("the answer's body of {} bytes is over the limit of {} bytes", length,
                            job_.limits.response_body));
    return false;
  }
  head_done_ = true;
  keep_alive_ = job_.head->keep_alive && framing_ != ResponseFraming::close && upload_.complete();
  append_response_head(
      out_, head,
      {.framing = framing_, .keep_alive = keep_alive_, .guest_minor_version = guest_version});
  changed_.notify();
  return true;
}

BodyTaken Exchange::on_body(std::string_view bytes) {
  if (out_.size() >= kHighWater) return BodyTaken::later;
  guest_.touch();
  received_ += bytes.size();
  if (received_ > job_.limits.response_body) {
    set_failure(
        "constraint_violation",
        fmt::format("the answer's body is over the limit of {} bytes", job_.limits.response_body));
    return BodyTaken::refused;
  }
  if (framing_ == ResponseFraming::chunked && !bytes.empty()) {
    fmt::format_to(std::back_inserter(out_), "{:x}\r\n", bytes.size());
    out_.append(bytes).append("\r\n");
  } else {
    out_ += bytes;
  }
  changed_.notify();
  return BodyTaken::taken;
}

UploadChunk Exchange::on_upload(std::span<char> room) {
  guest_.touch();
  return upload_.take(room);
}

void Exchange::upload_moved() {
  if (upload_.failed() && !done_) {
    transfer_->cancel();  // the origin sees a broken connection, never a shorter body
    on_done(std::nullopt);
  } else {
    transfer_->resume_upload();
  }
  changed_.notify();
}

void Exchange::on_done(const std::optional<TransferFailure>& failure) {
  done_ = true;
  if (upload_.guest_left()) guest_gone_ = true;
  if (guest_gone_) return changed_.notify();
  if (const auto& refusal = upload_.refusal()) {
    set_failure(refusal->code, refusal->detail);
    failure_status_ = refusal->status;
  }
  if (failure && !failure_) failure_ = failure;
  if (!failure_ && !head_done_) set_failure("upstream_error", "the origin ended without an answer");
  if (!failure_ && framing_ == ResponseFraming::chunked) out_ += http::kLastChunk;
  changed_.notify();
}

void Exchange::set_failure(std::string_view code, std::string message) {
  if (failure_) return;
  failure_ = TransferFailure{.code = std::string(code), .message = std::move(message)};
  if (code == "constraint_violation")
    failure_status_ = 502;  // on_done() knows better for an upload
}

void Exchange::check_deadline(std::chrono::steady_clock::time_point now) {
  if (!running_ || !connected_ || done_) return;
  const bool asked = upload_.complete() && !head_done_;
  const auto limit = asked ? door_.times.first_byte : door_.policy.limits().idle;
  const auto seconds = [](std::chrono::milliseconds time) {
    return static_cast<double>(time.count()) / 1000;
  };
  if (now - started_ > door_.times.total) {
    time_out(fmt::format("the exchange took more than {} s in total", seconds(door_.times.total)));
  } else if (now - guest_.last_activity() > limit) {
    time_out(asked ? fmt::format("no first byte from the origin in {} s", seconds(limit))
                   : fmt::format("idle: no byte moved for {} s", seconds(limit)));
  }
}

void Exchange::time_out(std::string message) {
  transfer_->cancel();
  set_failure("timeout", std::move(message));
  done_ = true;
  if (head_done_) {
    out_.clear();
    guest_.close();  // also ends a write that the guest does not take
  }
  changed_.notify();
}

void Exchange::guest_gone() {
  guest_gone_ = true;
  changed_.notify();
}

}  // namespace pinhole::pep
