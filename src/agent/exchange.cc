// SPDX-License-Identifier: Apache-2.0
#include "agent/exchange.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/json/parse.hpp>

#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using asio::experimental::awaitable_operators::operator||;
using std::chrono::steady_clock;
using Parser = http::response_parser<http::buffer_body>;

constexpr std::size_t kPiece = 64 * 1024;
constexpr std::uint32_t kHeaderBytes = 64 * 1024;
constexpr unsigned kInterimAnswers = 16;  // 1xx before the answer itself
constexpr std::size_t kProblemBytes = 16 * 1024;
constexpr std::size_t kProblemText = 1024;

Error failure(std::string code, int exit_status, std::string message) {
  return {.message = std::move(message), .exit_status = exit_status, .code = std::move(code)};
}

/// All of one exchange; shared by its coroutines, which run side by side.
struct Exchange {
  explicit Exchange(Stream connected) : stream(std::move(connected)) {}
  Stream stream;
  FetchRequest request;
  std::string head;
  std::optional<std::uint64_t> body_size;
  BodySink sink;
  steady_clock::time_point last_progress = steady_clock::now();
  std::optional<Error> upload_error =
      {};  // of the body's source; the connection's own shows when reading
  Answer answer;

  void progress() { last_progress = steady_clock::now(); }
};
using Shared = std::shared_ptr<Exchange>;

// The request.

bool is_token(std::string_view text) {
  // RFC 9110, 5.6.2
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_field_value(std::string_view text) {
  return std::ranges::none_of(
      text, [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == '\x7F'; });
}

bool ours_to_set(std::string_view lower_name) {
  constexpr std::array<std::string_view, 5> kNames = {"host", "content-length", "transfer-encoding",
                                                      "connection", "upgrade"};
  return std::ranges::find(kNames, lower_name) != kNames.end();
}

std::optional<std::uint64_t> regular_file_size(const FetchBody& body) {
  struct stat info{};
  if (!body.file || ::fstat(body.file->get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(info.st_size);
}

asio::awaitable<bool> send(Shared state, std::string_view bytes) {
  // In pieces, so that a slow but moving upload counts as progress.
  while (!bytes.empty()) {
    const auto [error, n] = co_await state->stream.async_write_some(
        asio::buffer(bytes.data(), std::min(bytes.size(), kPiece)), as_result);
    if (error) co_return false;
    state->progress();
    bytes.remove_prefix(n);
  }
  co_return true;
}

/// The next piece of a body in a file; reads of a pipe wait, which is all right for a program that
/// does one thing.
Result<std::string> read_piece(int fd, std::optional<std::uint64_t> offset) {
  std::string piece(kPiece, '\0');
  ssize_t n = 0;
  do {
    n = offset ? ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(*offset))
               : ::read(fd, piece.data(), piece.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return fail(failure("input", 26, "cannot read the request's body: " + errno_text(errno)));
  }
  piece.resize(static_cast<std::size_t>(n));
  return piece;
}

asio::awaitable<bool> send_sized_file(Shared state) {
  std::uint64_t sent = 0;
  while (sent < *state->body_size) {
    auto piece = read_piece(state->request.body->file->get(), sent);
    if (piece && piece->empty()) {
      piece = fail(failure("input", 26, "the request's body became shorter while it was sent"));
    }
    if (!piece) {
      state->upload_error = std::move(piece).error();
      co_return false;
    }
    piece->resize(std::min<std::uint64_t>(piece->size(), *state->body_size - sent));
    const bool ok = co_await send(state, *piece);
    if (!ok) co_return false;
    sent += piece->size();
  }
  co_return true;
}

asio::awaitable<bool> send_chunks(Shared state) {
  for (;;) {
    const int fd = state->request.body->file->get();
    const auto piece = read_piece(fd, std::nullopt);
    if (!piece) {
      state->upload_error = piece.error();
      co_return false;
    }
    std::string chunk = fmt::format("{:x}\r\n", piece->size()).append(*piece).append("\r\n");
    const bool ok = co_await send(state, chunk);
    if (!ok) co_return false;
    if (piece->empty()) co_return true;
  }
}

asio::awaitable<bool> send_request(Shared state) {
  const bool head_sent = co_await send(state, state->head);
  if (!head_sent || !state->request.body) co_return head_sent;
  const FetchBody& body = *state->request.body;
  if (!body.file) {
    const bool sent = co_await send(state, body.bytes);
    co_return sent;
  }
  if (state->body_size) {
    const bool sent = co_await send_sized_file(state);
    co_return sent;
  }
  const bool sent = co_await send_chunks(state);
  co_return sent;
}

/// Never ends before it is cancelled, unless the body's source failed: a server may answer, and
/// mean it, without having read all of a request.
asio::awaitable<void> upload(Shared state) {
  co_await send_request(state);
  if (state->upload_error) co_return;
  asio::steady_timer forever(state->stream.get_executor(), steady_clock::time_point::max());
  co_await forever.async_wait(as_result);
}

// The answer.

Error answer_error(error_code error, std::uint64_t bytes) {
  if (error == http::error::partial_message) {
    return failure("truncated", 18,
                   fmt::format("the answer was cut off after {} bytes of its body", bytes));
  }
  if (error == http::error::end_of_stream) {
    return failure("truncated", 52, "the connection ended before there was an answer");
  }
  if (error.category() == http::make_error_code(http::error::bad_status).category()) {
    return failure("invalid_response", 8, "not a valid HTTP answer: " + error.message());
  }
  return failure("truncated", 56,
                 fmt::format("the connection broke after {} bytes of the answer's body: {}", bytes,
                             error.message()));
}

std::string problem_text(const json::object& problem, std::string_view key) {
  const json::value* value = problem.if_contains(key);
  if (value == nullptr || !value->is_string()) return {};
  return std::string(std::string_view(value->get_string()).substr(0, kProblemText));
}

void read_problem(std::string_view body, FetchResult& result) {
  json::parse_options options;
  options.max_depth = 4;
  error_code error;
  const json::value value = json::parse(body, error, {}, options);
  if (error || !value.is_object()) return;
  const json::object& problem = value.get_object();
  result.code = problem_text(problem, "code");
  result.rule = problem_text(problem, "rule");
  result.detail = problem_text(problem, "detail");
  result.fix = problem_text(problem, "fix");
}

bool is_problem(const Parser& parser) {
  const auto type = parser.get().find(http::field::content_type);
  return type != parser.get().end() &&
         to_lower(std::string_view(type->value())).starts_with("application/problem+json");
}

using MaybeError = std::optional<Error>;

asio::awaitable<MaybeError> read_body(Shared state, std::shared_ptr<Parser> parser,
                                      std::shared_ptr<boost::beast::flat_buffer> buffer) {
  FetchResult& result = state->answer.result;
  const bool wanted = state->sink && state->answer.location.empty();
  const bool problem = is_problem(*parser);
  std::string problem_body;
  std::string piece(kPiece, '\0');
  Sha256 digest;
  while (!parser->is_done()) {
    parser->get().body().data = piece.data();
    parser->get().body().size = piece.size();
    const auto [error, n] =
        co_await http::async_read_some(state->stream, *buffer, *parser, as_result);
    state->progress();
    const std::string_view got(piece.data(), piece.size() - parser->get().body().size);
    result.bytes += got.size();
    digest.update(got);
    if (problem && problem_body.size() + got.size() <= kProblemBytes) problem_body += got;
    if (wanted && !got.empty()) {
      if (auto taken = state->sink(got); !taken) co_return std::move(taken).error();
    }
    if (error && error != http::error::need_buffer) co_return answer_error(error, result.bytes);
  }
  result.sha256 = digest.finish_hex();
  if (problem) read_problem(problem_body, result);
  co_return std::nullopt;
}

asio::awaitable<MaybeError> read_answer(Shared state) {
  const auto buffer = std::make_shared<boost::beast::flat_buffer>();
  buffer->reserve(kPiece);
  std::shared_ptr<Parser> parser;
  for (unsigned i = 0;; ++i) {
    parser = std::make_shared<Parser>();
    parser->header_limit(kHeaderBytes);
    parser->body_limit(boost::none);
    parser->skip(state->request.method == "HEAD");
    const auto [error, n] =
        co_await http::async_read_header(state->stream, *buffer, *parser, as_result);
    state->progress();
    if (error) co_return answer_error(error, 0);
    state->answer.result.status = parser->get().result_int();
    if (state->answer.result.status == 101) {
      co_return failure("invalid_response", 8, "the server switched protocols unasked");
    }
    if (state->answer.result.status >= 200) break;
    if (i == kInterimAnswers) {
      co_return failure("invalid_response", 8, "too many interim answers (1xx)");
    }
  }
  const auto location = parser->get().find(http::field::location);
  if (state->request.follow && location != parser->get().end() &&
      is_redirect(state->answer.result.status)) {
    state->answer.location = std::string(location->value());
  }
  MaybeError outcome = co_await read_body(state, parser, buffer);
  co_return outcome;
}

asio::awaitable<void> watch_idle(Shared state) {
  asio::steady_timer timer(state->stream.get_executor());
  for (;;) {
    const auto until = state->last_progress + state->request.idle_limit;
    if (steady_clock::now() >= until) co_return;
    timer.expires_at(until);
    co_await timer.async_wait(as_result);
  }
}

}  // namespace

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Result<std::string> request_head(const FetchRequest& request, const Url& url,
                                 std::optional<std::uint64_t> body_size) {
  const auto invalid = [](std::string message) {
    return fail(failure("invalid_request", 2, std::move(message)));
  };
  if (!is_token(request.method)) {
    return invalid(fmt::format("\"{}\" is not a method", printable(request.method)));
  }
  bool has_agent = false;
  bool has_accept = false;
  std::string given;
  for (const auto& [name, value] : request.headers) {
    const std::string lower = to_lower(name);
    if (!is_token(name)) return invalid(fmt::format("\"{}\" is not a header", printable(name)));
    if (!is_field_value(value)) {
      return invalid(
          fmt::format("header {}: \"{}\" holds a control character", name, printable(value)));
    }
    if (ours_to_set(lower)) return invalid(fmt::format("header {} is set by this program", name));
    has_agent = has_agent || lower == "user-agent";
    has_accept = has_accept || lower == "accept";
    given += fmt::format("{}: {}\r\n", name, value);
  }
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
                                 request.method, url.text(), url.authority);
  if (!has_agent) head += "User-Agent: pinhole-agent/" PINHOLE_VERSION "\r\n";
  if (!has_accept) head += "Accept: */*\r\n";
  if (request.body && body_size) head += fmt::format("Content-Length: {}\r\n", *body_size);
  if (request.body && !body_size) head += "Transfer-Encoding: chunked\r\n";
  return head + given + "\r\n";
}

asio::awaitable<Result<Answer>> exchange(FetchRequest request, Url url, BodySink sink) {
  std::optional<std::uint64_t> body_size;
  if (request.body) {
    body_size = request.body->file ? regular_file_size(*request.body) : request.body->bytes.size();
  }
  auto head = request_head(request, url, body_size);
  if (!head) co_return fail(std::move(head).error());
  auto stream = co_await connect_stream(request.door, request.connect_limit);
  if (!stream) co_return fail(std::move(stream).error());
  const auto state = std::make_shared<Exchange>(std::move(*stream));
  state->request = std::move(request);
  state->head = std::move(*head);
  state->body_size = body_size;
  state->sink = std::move(sink);
  const auto outcome = co_await (read_answer(state) || upload(state) || watch_idle(state));
  if (state->upload_error) co_return fail(*state->upload_error);
  if (outcome.index() == 2) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(state->request.idle_limit).count();
    co_return fail(failure("timeout", 28, fmt::format("nothing moved for {} s", seconds)));
  }
  const MaybeError* error = std::get_if<0>(&outcome);
  if (error != nullptr && *error) co_return fail(**error);
  state->answer.result.url = url.text();
  co_return std::move(state->answer);
}

}  // namespace pinhole::agent
