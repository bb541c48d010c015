// SPDX-License-Identifier: Apache-2.0
#include "pep/h2_session.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "http/h2_request.h"

namespace pinhole::pep {
namespace {

constexpr std::uint32_t kMostStreams = 100;
/// Streams that are closed count until their coroutine is done.
constexpr std::size_t kMostKept = std::size_t{2} * kMostStreams;
/// What a stream's request body, and all together, may be ahead of the origins.
constexpr std::uint32_t kStreamWindow = std::uint32_t{256} << 10;
constexpr std::int32_t kConnectionWindow = std::int32_t{1} << 20;
constexpr std::size_t kBatch = std::size_t{64} << 10;
/// Streams that the guest may reset at once, and for each second after that. A browser that leaves
/// a page resets all it had.
constexpr double kResets = 200;
constexpr double kResetsPerSecond = 20;
/// The same of frames that carry nothing: PING, SETTINGS, PRIORITY, empty DATA.
constexpr double kNoise = 1000;
constexpr double kNoisePerSecond = 100;
constexpr std::size_t kMostAcks = 256;
constexpr std::size_t kMostContinuations = 8;
constexpr std::size_t kMostSettings = 32;
/// An answer's fields; what limits them really is the policy's `header_bytes`.
constexpr std::size_t kMostSentHeaders = std::size_t{1} << 20;

/// No exception may pass through nghttp2.
template <typename Step>
int guarded(Step step) noexcept {
  try {
    step();
    return 0;
  } catch (...) {
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
}

}  // namespace

struct H2Session::Stream {
  Stream(H2Session& session, std::int32_t number)
      : id(number),
        client(session.door_.context, session.wire_.get(), session.writer_, number),
        exchange(session.door_) {}

  std::int32_t id;
  std::vector<http::Header> fields;
  std::size_t field_bytes = 0;
  http::Parsed<http::RequestHead> head = http::RequestHead{};
  RequestNote note;
  H2Client client;
  Exchange exchange;
  bool running = false;
  bool closed = false;
};

struct H2Session::Callbacks {
  static H2Session& of(void* session) { return *static_cast<H2Session*>(session); }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* session) {
    return guarded([&] {
      H2Session& self = of(session);
      self.head_started_ = Clock::now();
      if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self.begin_stream(frame->hd.stream_id);
    });
  }
  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                    std::uint8_t, void* session) {
    return guarded([&] {
      if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return;  // trailers end here
      of(session).add_field(frame->hd.stream_id, {reinterpret_cast<const char*>(name), name_size},
                            {reinterpret_cast<const char*>(value), value_size});
    });
  }
  static int frame_came(nghttp2_session*, const nghttp2_frame* frame, void* session) {
    return guarded([&] { of(session).frame_came(*frame); });
  }
  static int data(nghttp2_session* wire, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                  std::size_t size, void* session) {
    return guarded([&] {
      if (Stream* const stream = of(session).find(id); stream != nullptr) {
        stream->client.connection_data({reinterpret_cast<const char*>(bytes), size});
      } else {
        nghttp2_session_consume_connection(wire, size);
      }
    });
  }
  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t, void* session) {
    return guarded([&] { of(session).stream_closed(id); });
  }
  static int sent(nghttp2_session*, const nghttp2_frame* frame, void* session) {
    return guarded([&] { of(session).frame_sent(*frame, true); });
  }
  static int not_sent(nghttp2_session*, const nghttp2_frame* frame, int, void* session) {
    return guarded([&] { of(session).frame_sent(*frame, false); });
  }

  static nghttp2_session* make(H2Session& self) {
    nghttp2_session_callbacks* calls = nullptr;
    nghttp2_option* options = nullptr;
    nghttp2_session* wire = nullptr;
    PINHOLE_CHECK(nghttp2_session_callbacks_new(&calls) == 0 && nghttp2_option_new(&options) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(calls, &begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(calls, &header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, &frame_came);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, &data);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, &Callbacks::stream_closed);
    nghttp2_session_callbacks_set_on_frame_send_callback(calls, &sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(calls, &not_sent);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_http_messaging(options, 1);  // http/h2_request.h is stricter
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_outbound_ack(options, kMostAcks);
    nghttp2_option_set_max_settings(options, kMostSettings);
    nghttp2_option_set_max_continuations(options, kMostContinuations);
    nghttp2_option_set_max_send_header_block_length(options, kMostSentHeaders);
    const int made = nghttp2_session_server_new2(&wire, calls, &self, options);
    nghttp2_session_callbacks_del(calls);
    nghttp2_option_del(options);
    PINHOLE_CHECK(made == 0);
    return wire;
  }
};

bool H2Session::Bucket::take() {
  const auto now = Clock::now();
  tokens = std::min(most, tokens + per_second * std::chrono::duration<double>(now - at).count());
  at = now;
  if (tokens < 1) return false;
  tokens -= 1;
  return true;
}

H2Session::H2Session(Door& door, Connection& guest, std::optional<Inside> inside)
    : door_(door),
      guest_(guest),
      inside_(std::move(inside)),
      writer_(door.context),
      quiet_(door.context),
      wire_(Callbacks::make(*this)),
      resets_{.most = kResets, .per_second = kResetsPerSecond},
      noise_{.most = kNoise, .per_second = kNoisePerSecond} {}

H2Session::~H2Session() = default;

asio::awaitable<void> H2Session::run() {
  std::exception_ptr thrown;
  start();
  try {
    const bool can_say_why = co_await read_all();
    const auto until = Clock::now() + door_.times.linger;
    while (can_say_why && writing_ && !closed_ && Clock::now() < until) {
      [[maybe_unused]] const bool ended = co_await quiet_.wait_until(until);
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  close();
  while (writing_ || running_ > 0) co_await quiet_.wait();
  if (thrown) std::rethrow_exception(thrown);
}

void H2Session::start() {
  const auto header_bytes = static_cast<std::uint32_t>(
      std::min<std::size_t>(door_.policy.limits().header_bytes, 1 << 30));
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMostStreams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, header_bytes},
  };
  nghttp2_submit_settings(wire_.get(), NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(wire_.get(), NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  writing_ = true;
  writer_.notify();
  asio::co_spawn(door_.context, write_all(), [this](const std::exception_ptr& thrown) {
    if (thrown) log(LogLevel::error, "an HTTP/2 connection's writer failed");
    guest_.close();
    writing_ = false;
    quiet_.notify();
  });
}

/// True: the guest made a mistake that it is to be told before the connection ends.
asio::awaitable<bool> H2Session::read_all() {
  while (!closed_) {
    if (const auto input = guest_.input(); !input.empty()) {
      const ssize_t taken = nghttp2_session_mem_recv(
          wire_.get(), reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
      if (taken < 0) {
        const int error = static_cast<int>(taken);
        refuse_connection(
            error == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR,
            fmt::format("HTTP/2: {}", nghttp2_strerror(error)));
        co_return true;
      }
      guest_.consume(static_cast<std::size_t>(taken));
      writer_.notify();
    }
    const bool came = co_await guest_.read_more();
    if (!came) co_return false;
  }
  co_return false;
}

asio::awaitable<void> H2Session::write_all() {
  while (!closed_) {
    if (!fill_batch()) break;
    for (const auto& [id, stream] : streams_) stream->client.connection_moved();
    if (batch_.empty()) {
      const bool over = nghttp2_session_want_read(wire_.get()) == 0 &&
                        nghttp2_session_want_write(wire_.get()) == 0;
      if (over) break;
      co_await writer_.wait();
      continue;
    }
    sending_ = true;
    const bool written = co_await guest_.write(batch_);
    sending_ = false;
    batch_.clear();
    if (!written) break;
  }
  if (!closed_) guest_.shutdown_send();
}

/// False: the connection cannot go on.
bool H2Session::fill_batch() {
  while (batch_.size() < kBatch) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t count = nghttp2_session_mem_send(wire_.get(), &bytes);
    if (count < 0) return false;
    if (count == 0) break;
    batch_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
  }
  return true;
}

H2Session::Stream* H2Session::find(std::int32_t id) {
  const auto at = streams_.find(id);
  return at == streams_.end() ? nullptr : at->second.get();
}

void H2Session::erase(std::int32_t id) {
  streams_.erase(id);
  if (streams_.empty()) idle_since_ = Clock::now();
}

void H2Session::begin_stream(std::int32_t id) {
  if (finishing_ || closed_ || streams_.size() >= kMostKept) {
    nghttp2_submit_rst_stream(wire_.get(), NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
    return;
  }
  streams_.emplace(id, std::make_unique<Stream>(*this, id));
}

/// Keeps one field more than the limit allows: enough for the head to be refused for it.
void H2Session::add_field(std::int32_t id, std::string_view name, std::string_view value) {
  Stream* const stream = find(id);
  if (stream == nullptr || stream->field_bytes > door_.policy.limits().header_bytes) return;
  constexpr std::size_t kPerField = 32;  // RFC 9113 §6.5.2
  stream->field_bytes += name.size() + value.size() + kPerField;
  stream->fields.push_back({.name = std::string(name), .value = std::string(value)});
}

void H2Session::frame_came(const nghttp2_frame& frame) {
  const bool ends = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      return headers_came(frame);
    case NGHTTP2_DATA:
      if (Stream* const stream = find(frame.hd.stream_id); stream != nullptr && ends)
        stream->client.connection_body_end();
      if (ends || frame.hd.length > 0) return;
      break;
    case NGHTTP2_RST_STREAM:
      if (!resets_.take()) {
        refuse_connection(NGHTTP2_ENHANCE_YOUR_CALM,
                          "HTTP/2: streams are reset faster than they can be served");
      }
      return;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
      break;
    default:
      return;
  }
  if (!noise_.take()) {
    refuse_connection(NGHTTP2_ENHANCE_YOUR_CALM, "HTTP/2: a flood of frames that carry nothing");
  }
}

void H2Session::headers_came(const nghttp2_frame& frame) {
  head_started_.reset();
  Stream* const stream = find(frame.hd.stream_id);
  if (stream == nullptr) return;
  const bool ends = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) return start_stream(*stream, ends);
  // Trailers: dropped, as those of HTTP/1 are.
  if (ends) return stream->client.connection_body_end();
  stream->client.reset(NGHTTP2_PROTOCOL_ERROR);
}

void H2Session::start_stream(Stream& stream, bool end_stream) {
  http::HeadLimits limits;
  limits.head_bytes = door_.policy.limits().header_bytes;
  std::optional<http::InsideOrigin> origin;
  if (inside_) origin.emplace(inside_->scheme, inside_->host, inside_->port);
  stream.head =
      stream.field_bytes > limits.head_bytes
          ? http::fault(http::kConstraintViolation, 431, "the request head is longer than {} bytes",
                        limits.head_bytes)
          : http::request_from_h2(stream.fields, end_stream, origin ? &*origin : nullptr, limits);
  stream.fields = {};
  if (stream.head) stream.client.begin(*stream.head);
  if (end_stream) stream.client.connection_body_end();
  asked_ = true;
  stream.running = true;
  ++running_;
  asio::co_spawn(door_.context, serve_stream(this, &stream),
                 [this, id = stream.id](const std::exception_ptr& thrown) {
                   if (thrown) log(LogLevel::error, "serving an HTTP/2 stream failed");
                   stream_done(id);
                 });
}

asio::awaitable<void> H2Session::serve_stream(H2Session* self, Stream* stream) {
  std::exception_ptr thrown;
  H2Client& client = stream->client;
  try {
    Served served;
    const http::RequestHead* const head = stream->head ? &*stream->head : nullptr;
    if (head != nullptr) {
      stream->note = begin_request(self->door_, *head, self->inside_);
      if (!self->inside_) served.refusal = ask_for_token(self->door_, *head, stream->note);
      if (!served.refusal)
        served = co_await serve(&self->door_, &stream->exchange, head, &stream->note, &client);
    } else {
      served.refusal =
          refuse_unread(self->door_, stream->note, stream->head.error(), self->inside_);
    }
    if (served.refusal) {
      if (status_of(*served.refusal) < 500) ++self->door_.stats.denied;
      client.answer(make_answer(*served.refusal, answer_context(self->door_, head, stream->note)));
      bool there = true;
      while (there && client.has_output()) there = co_await client.flush();
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  co_await stream->exchange.settle();  // does nothing where all went well
  if (!client.end_sent()) client.abort();
  if (thrown) std::rethrow_exception(thrown);
}

void H2Session::stream_done(std::int32_t id) {
  --running_;
  Stream* const stream = find(id);
  if (stream != nullptr) {
    stream->running = false;
    if (stream->closed || closed_) erase(id);
  }
  writer_.notify();
  quiet_.notify();
}

void H2Session::frame_sent(const nghttp2_frame& frame, bool sent) {
  if (frame.hd.type == NGHTTP2_GOAWAY && frame.goaway.error_code != NGHTTP2_NO_ERROR) {
    // nghttp2 found the mistake by itself.
    refuse_connection(frame.goaway.error_code,
                      fmt::format("HTTP/2: {}", nghttp2_http2_strerror(frame.goaway.error_code)));
    return;
  }
  if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return;
  Stream* const stream = find(frame.hd.stream_id);
  if (stream == nullptr) return;
  if (frame.hd.type == NGHTTP2_HEADERS) stream->client.connection_head_sent();
  if (!sent) return stream->client.abort();
  if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) stream->client.connection_end_sent();
}

void H2Session::stream_closed(std::int32_t id) {
  Stream* const stream = find(id);
  if (stream == nullptr) return;
  stream->closed = true;
  stream->client.connection_closed();
  if (!stream->client.end_sent() && stream->exchange.running()) stream->exchange.guest_gone();
  if (!stream->running) erase(id);
}

/// Once: the guest is told by a GOAWAY, and the audit log says why.
void H2Session::refuse_connection(std::uint32_t error, std::string_view why) {
  if (std::exchange(refused_, true)) return;
  RequestNote note;
  refuse_unread(door_, note,
                {.code = http::kInvalidRequest, .status = 400, .detail = std::string(why)},
                inside_);
  nghttp2_session_terminate_session(wire_.get(), error);
  writer_.notify();
}

void H2Session::check_deadline(Clock::time_point now) {
  const auto idle = door_.policy.limits().idle;
  if (closed_) return;
  if (head_started_ && now - *head_started_ > door_.times.request_head) return close();
  if (sending_ && now - guest_.last_activity() > idle) return close();
  if (streams_.empty() && now - idle_since_ > idle) return close();
  for (const auto& [id, stream] : streams_) {
    if (stream->exchange.running()) stream->exchange.check_deadline(now);
    // Also an answer that is complete, and that the guest does not take.
    H2Client& client = stream->client;
    if (client.has_output() && now - client.last_activity() > idle) client.abort();
  }
}

void H2Session::finish_soon() {
  if (std::exchange(finishing_, true)) return;
  nghttp2_submit_goaway(wire_.get(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(wire_.get()), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  writer_.notify();
}

void H2Session::close() {
  if (std::exchange(closed_, true)) return;
  guest_.close();
  for (const auto& [id, stream] : streams_) {
    stream->client.connection_closed();
    if (stream->exchange.running()) stream->exchange.guest_gone();
  }
  writer_.notify();
  quiet_.notify();
}

}  // namespace pinhole::pep
