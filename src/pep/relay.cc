// SPDX-License-Identifier: Apache-2.0
#include "pep/relay.h"

#include <utility>

#include <fmt/format.h>

namespace pinhole::pep {

asio::awaitable<void> Relay::run() {
  using namespace asio::experimental::awaitable_operators;
  guest_.touch();
  started_ = Clock::now();
  co_await (to_origin() && to_guest());
  origin_.close();
  guest_.close();
}

asio::awaitable<void> Relay::to_origin() {
  while (true) {
    if (!guest_.input().empty()) {
      const std::size_t count = guest_.input().size();
      if (!may_go(guest_.input())) co_return;
      const bool written = co_await origin_.write(guest_.input());
      if (!written) {
        cut();
        co_return;
      }
      sent_ += count;
      guest_.touch();
      guest_.consume(count);
    }
    const bool came = co_await guest_.read_more();
    if (!came) break;
  }
  if (!guest_.at_end()) {
    cut();
    co_return;
  }
  guest_done_ = true;
  origin_.shutdown_send();
  if (guest_gone_) cut();
}

asio::awaitable<void> Relay::to_guest() {
  std::string filtered;
  while (true) {
    if (!origin_.input().empty()) {
      const std::size_t count = origin_.input().size();
      filtered.clear();
      if (!pass(origin_.input(), filtered)) co_return;
      guest_.touch();
      const std::string_view bytes = filter_ ? std::string_view(filtered) : origin_.input();
      const bool written = co_await guest_.write(bytes);
      if (!written) {
        cut();
        co_return;
      }
      origin_.consume(count);
    }
    const bool came = co_await origin_.read_more();
    if (!came) break;
  }
  if (!origin_.at_end()) {
    if (code_.empty() && !guest_done_ && !cut_) code_ = "upstream_error";
    cut();
    co_return;
  }
  guest_.shutdown_send();
}

bool Relay::may_go(std::string_view bytes) {
  if (bytes.size() > limits_.sent - sent_) {
    fail("constraint_violation", fmt::format("the guest sent more than {} bytes", limits_.sent));
    return false;
  }
  if (!check_) return true;
  const auto good = check_(bytes);
  if (!good) fail(good.error().code, good.error().message);
  return good.has_value();
}

bool Relay::pass(std::string_view bytes, std::string& filtered) {
  if (bytes.size() > limits_.received - received_) {
    fail("constraint_violation",
         fmt::format("the origin sent more than {} bytes", limits_.received));
    return false;
  }
  received_ += bytes.size();
  if (!filter_) return true;
  const auto passed = filter_(bytes, filtered);
  if (!passed) fail(passed.error().code, passed.error().message);
  return passed.has_value();
}

void Relay::fail(std::string_view code, std::string note) {
  code_ = code;
  note_ = std::move(note);
  cut();
}

void Relay::check_deadline(Clock::time_point now) {
  const bool late = now - started_ > limits_.total;
  if (!late && now - guest_.last_activity() <= limits_.idle) return;
  fail("timeout", late ? "it was open too long" : "idle: no byte moved in time");
}

void Relay::guest_gone() {
  guest_gone_ = true;
  if (guest_done_) cut();
}

void Relay::cut() {
  cut_ = true;
  origin_.reset();
  guest_.reset();
}

}  // namespace pinhole::pep
