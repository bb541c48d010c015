// SPDX-License-Identifier: Apache-2.0
#include "supervisor/pep_link.h"

#include <array>

#include <boost/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "base/printable.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
constexpr std::size_t kLongestLine = 64 << 10;
constexpr auto kReplyDeadline = std::chrono::seconds(5);

}  // namespace

PepLink::PepLink(asio::io_context& io, Fd socket)
    : socket_(io, asio::local::stream_protocol(), socket.release()), changed_(io) {}

asio::awaitable<void> PepLink::run() {
  std::array<char, 8192> chunk;
  for (;;) {
    const auto [error, n] = co_await socket_.async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    received_.append(chunk.data(), n);
    for (std::size_t end = received_.find('\n'); end != std::string::npos;
         end = received_.find('\n')) {
      handle_line(std::string_view(received_).substr(0, end));
      received_.erase(0, end + 1);
    }
    if (received_.size() > kLongestLine) break;
  }
  closed_ = true;
  changed_.notify();
}

void PepLink::handle_line(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) {
    log(LogLevel::warning, "the PEP said something unreadable: {}", printable(line, 200));
    return;
  }
  const json::object& message = value.get_object();
  const std::string event = text_of(message, "event");
  if (event == "ready") {
    policy_hash_ = text_of(message, "policy");
  } else if (event == "head") {
    const json::value* seq = message.if_contains("seq");
    head_ = fmt::format("{} {}", seq != nullptr ? json::serialize(*seq) : "?",
                        text_of(message, "sha256"));
    if (on_head) on_head(head_);
  } else {
    constexpr std::size_t kMostReplies = 16;
    if (replies_.size() < kMostReplies) replies_.push_back(message);
  }
  changed_.notify();
}

asio::awaitable<Result<std::string>> PepLink::wait_ready(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!policy_hash_) {
    if (closed_) co_return fail("the PEP ended before it was ready");
    const bool changed = co_await changed_.wait_until(deadline);
    if (!changed) co_return fail("the PEP was not ready within {} s", limit.count() / 1000);
  }
  co_return *policy_hash_;
}

asio::awaitable<Result<json::object>> PepLink::request(json::object message, std::string answer) {
  if (closed_) co_return fail("the PEP is gone");
  if (busy_) co_return fail("the PEP is still answering another question");
  busy_ = true;
  replies_.clear();
  const std::string line = json::serialize(message) + "\n";
  const auto [error, n] = co_await asio::async_write(socket_, asio::buffer(line), as_result);
  const auto deadline = std::chrono::steady_clock::now() + kReplyDeadline;
  bool waiting = !error;
  // An answer that comes too late for its question is not the answer to the next one.
  const auto drop_others = [&] {
    while (!replies_.empty() && text_of(replies_.front(), "event") != answer) replies_.pop_front();
  };
  while (waiting && replies_.empty() && !closed_) {
    waiting = co_await changed_.wait_until(deadline);
    drop_others();
  }
  busy_ = false;
  if (replies_.empty()) co_return fail("the PEP did not answer");
  json::object reply = std::move(replies_.front());
  replies_.pop_front();
  co_return reply;
}

asio::awaitable<void> PepLink::wait_closed(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  bool in_time = true;
  while (!closed_ && in_time) in_time = co_await changed_.wait_until(deadline);
}

asio::awaitable<Result<json::object>> PepLink::stats() {
  json::object question{{"op", "stats"}};
  auto reply = co_await request(std::move(question), "stats");
  co_return reply;
}

asio::awaitable<Result<void>> PepLink::note(std::string text) {
  json::object message{{"op", "note"}, {"text", text}};
  auto reply = co_await request(std::move(message), "noted");
  if (!reply) co_return std::unexpected(reply.error());
  if (const std::string problem = text_of(*reply, "error"); !problem.empty())
    co_return fail("{}", problem);
  co_return Result<void>();
}

}  // namespace pinhole::supervisor
