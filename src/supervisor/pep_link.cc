// SPDX-License-Identifier: Apache-2.0
#include "supervisor/pep_link.h"

#include <boost/json.hpp>

#include "base/json.h"
#include "wire/hello.h"

namespace pinhole::supervisor {

namespace json = boost::json;

namespace {

/// What is no port is left out, and so is what comes beyond the number that a guest may be told.
std::vector<std::uint16_t> ports_of(const json::object& message) {
  std::vector<std::uint16_t> ports;
  const json::value* list = message.if_contains("ports");
  if (list == nullptr || !list->is_array()) return ports;
  for (const json::value& item : list->get_array()) {
    const bool is_port = item.is_int64() && item.get_int64() > 0 && item.get_int64() <= 65535;
    if (is_port && ports.size() < wire::kPorts)
      ports.push_back(static_cast<std::uint16_t>(item.get_int64()));
  }
  return ports;
}

}  // namespace

PepLink::PepLink(asio::io_context& io, Fd socket)
    : changed_(io),
      link_(
          io, std::move(socket), "the PEP",
          [this](const json::object& message) { return take_event(message); },
          [this] { changed_.notify(); }) {}

asio::awaitable<void> PepLink::run() { co_await link_.run(); }

bool PepLink::take_event(const json::object& message) {
  const std::string event = text_of(message, "event");
  if (event == "ready") {
    policy_hash_ = text_of(message, "policy");
    ports_ = ports_of(message);
  } else if (event == "head") {
    const json::value* seq = message.if_contains("seq");
    head_ = fmt::format("{} {}", seq != nullptr ? json::serialize(*seq) : "?",
                        text_of(message, "sha256"));
    if (on_head) on_head(head_);
  } else {
    return false;
  }
  changed_.notify();
  return true;
}

asio::awaitable<Result<std::string>> PepLink::wait_ready(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!policy_hash_) {
    if (link_.closed()) co_return fail("the PEP ended before it was ready");
    const bool changed = co_await changed_.wait_until(deadline);
    if (!changed) co_return fail("the PEP was not ready within {} s", limit.count() / 1000);
  }
  co_return *policy_hash_;
}

asio::awaitable<void> PepLink::wait_closed(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  bool in_time = true;
  while (!link_.closed() && in_time) in_time = co_await changed_.wait_until(deadline);
}

asio::awaitable<Result<json::object>> PepLink::stats(std::chrono::milliseconds limit) {
  auto reply = co_await link_.ask("{\"op\":\"stats\"}\n", limit);
  co_return reply;
}

asio::awaitable<Result<void>> PepLink::note(std::string text) {
  const json::object message{{"op", "note"}, {"text", text}};
  auto reply = co_await link_.ask(json::serialize(message) + "\n", kReplyDeadline);
  if (!reply) co_return std::unexpected(reply.error());
  if (const std::string problem = text_of(*reply, "error"); !problem.empty())
    co_return fail("{}", problem);
  co_return Result<void>();
}

asio::awaitable<Result<std::string>> PepLink::reload(json::object request) {
  auto reply = co_await link_.ask(json::serialize(request) + "\n", kReplyDeadline);
  if (!reply) co_return std::unexpected(reply.error());
  if (const std::string problem = text_of(*reply, "error"); !problem.empty())
    co_return fail("{}", problem);
  ports_ = ports_of(*reply);
  co_return text_of(*reply, "policy");
}

asio::awaitable<Result<json::object>> PepLink::secrets(json::object values) {
  const json::object message{{"op", "secrets"}, {"values", std::move(values)}};
  auto reply = co_await link_.ask(json::serialize(message) + "\n", kReplyDeadline);
  co_return reply;
}

}  // namespace pinhole::supervisor
