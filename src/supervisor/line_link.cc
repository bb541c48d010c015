// SPDX-License-Identifier: Apache-2.0
#include "supervisor/line_link.h"

#include <array>
#include <cerrno>
#include <optional>

#include <sys/socket.h>

#include <boost/json.hpp>

#include "base/log.h"
#include "base/printable.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
constexpr std::size_t kLongestLine = 64 << 10;
constexpr std::size_t kMostQuestions = 32;

}  // namespace

struct LineLink::Question {
  explicit Question(const asio::any_io_executor& executor) : arrived(executor) {}
  asio::steady_timer arrived;  // cancelled when `reply` is there; expires at the question's limit
  std::optional<Result<json::object>> reply;
};

LineLink::LineLink(asio::io_context& io, Fd socket, std::string peer, Unasked unasked,
                   Closed closed)
    : socket_(io, asio::local::stream_protocol(), socket.release()),
      peer_(std::move(peer)),
      unasked_(std::move(unasked)),
      on_closed_(std::move(closed)) {}

asio::awaitable<void> LineLink::run() {
  std::array<char, 8192> chunk;
  for (;;) {
    const auto [error, n] = co_await socket_.async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    received_.append(chunk.data(), n);
    for (std::size_t end = received_.find('\n'); end != std::string::npos;
         end = received_.find('\n')) {
      handle(std::string_view(received_).substr(0, end));
      received_.erase(0, end + 1);
    }
    if (received_.size() > kLongestLine) break;
  }
  over_ = true;
  error_code ignored;
  socket_.close(ignored);
  while (!open_.empty()) answer_first(fail("{} is gone", peer_));
  if (on_closed_) on_closed_();
}

void LineLink::handle(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) {
    log(LogLevel::warning, "{} said something unreadable: {}", peer_, printable(line, 200));
    return;
  }
  if (unasked_ && unasked_(value.get_object())) return;
  answer_first(value.get_object());
}

void LineLink::answer_first(Result<json::object> reply) {
  if (open_.empty()) return;  // nobody asked
  const std::shared_ptr<Question> first = std::move(open_.front());
  open_.pop_front();
  first->reply = std::move(reply);
  first->arrived.cancel();
}

asio::awaitable<Result<json::object>> LineLink::ask(std::string line,
                                                    std::chrono::milliseconds limit) {
  if (over_) co_return fail("{} is gone", peer_);
  if (open_.size() >= kMostQuestions) co_return fail("{} does not answer", peer_);
  // Never waits: a peer that leaves so much unread is not asked any more.
  const ssize_t sent =
      ::send(socket_.native_handle(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(line.size()))
    co_return fail("{} cannot be asked: {}", peer_, sent < 0 ? errno_text(errno) : "it is full");
  const auto question = std::make_shared<Question>(co_await asio::this_coro::executor);
  question->arrived.expires_after(limit);
  open_.push_back(question);
  co_await question->arrived.async_wait(as_result);
  if (!question->reply) co_return fail("{} did not answer", peer_);
  co_return *std::move(question->reply);
}

}  // namespace pinhole::supervisor
