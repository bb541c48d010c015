// SPDX-License-Identifier: Apache-2.0
#include "pep/control.h"

#include <sys/socket.h>

#include <cerrno>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "pep/reload.h"

namespace pinhole::pep {

namespace json = boost::json;

namespace {

json::array ports_of(const policy::Policy& policy) {
  json::array ports;
  for (const std::uint16_t port : policy.ports()) ports.emplace_back(port);
  return ports;
}

}  // namespace

Control::Control(Door& door, const Canary* canary, Fd socket, std::function<void()> on_end)
    : door_(door),
      canary_(canary),
      socket_(door.context, socket.release()),
      on_end_(std::move(on_end)) {}

void Control::start() {
  json::object ready{
      {"event", "ready"}, {"policy", door_.policy.hash()}, {"ports", ports_of(door_.policy)}};
  if (canary_ != nullptr) ready["canary_port"] = canary_->port();
  send(json::serialize(ready));
  send_head();
  asio::co_spawn(door_.context, read_loop(), asio::detached);
  asio::co_spawn(door_.context, head_loop(), asio::detached);
}

asio::awaitable<void> Control::read_loop() {
  constexpr std::size_t kLongestLine = kLongestReload;
  std::string pending;
  while (true) {
    char piece[4096];
    auto [error, count] = co_await socket_.async_read_some(asio::buffer(piece), as_result);
    if (error) break;
    pending.append(piece, count);
    for (std::size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      handle(std::string_view(pending).substr(0, end));
      pending.erase(0, end + 1);
    }
    if (pending.size() > kLongestLine) {
      log(LogLevel::error, "the control socket sent a line of more than {} bytes", kLongestLine);
      break;
    }
  }
  on_end_();
}

asio::awaitable<void> Control::head_loop() {
  constexpr std::chrono::seconds kEvery{5};
  asio::steady_timer timer(door_.context);
  while (true) {
    timer.expires_after(kEvery);
    auto [error] = co_await timer.async_wait(as_result);
    if (error) co_return;
    send_head();
  }
}

void Control::handle(std::string_view line) {
  json::error_code error;
  const json::value message = json::parse({line.data(), line.size()}, error);
  const auto* object = error ? nullptr : message.if_object();
  const auto* op = object == nullptr ? nullptr : object->if_contains("op");
  if (op != nullptr && op->is_string() && op->as_string() == "stats") return send_stats();
  if (op != nullptr && op->is_string() && op->as_string() == "note") return write_note(*object);
  if (op != nullptr && op->is_string() && op->as_string() == "reload") return reload(*object);
  if (op != nullptr && op->is_string() && op->as_string() == "secrets")
    return take_secrets(*object);
  // Not the line itself, which may hold a secret.
  log(LogLevel::warning, "the control socket sent something unknown");
}

void Control::take_secrets(const boost::json::object& request) {
  json::array problems;
  const auto* values = request.if_contains("values");
  if (values == nullptr || !values->is_object()) {
    problems.emplace_back("the message has no values");
  } else {
    for (const auto& [name, value] : values->get_object()) {
      const std::string_view text =
          value.is_string() ? std::string_view(value.get_string()) : std::string_view();
      if (const auto kept = door_.vault.set_value(name, text); !kept)
        problems.emplace_back(kept.error().message);
    }
  }
  json::object placeholders;
  json::array missing;
  for (const secret::Secret& secret : door_.vault.secrets()) {
    placeholders[secret.name] = secret.placeholder;
    if (!door_.vault.has_value(secret.name)) missing.emplace_back(secret.name);
  }
  send(json::serialize(json::object{{"event", "secrets"},
                                    {"problems", std::move(problems)},
                                    {"placeholders", std::move(placeholders)},
                                    {"missing", std::move(missing)}}));
}

void Control::reload(const json::object& request) {
  std::vector<policy::Builtin> builtins;
  if (canary_ != nullptr) builtins.push_back(canary_->rule());
  const auto done = reload_policy(door_, request, std::move(builtins));
  json::object reply{
      {"event", "reloaded"}, {"policy", door_.policy.hash()}, {"ports", ports_of(door_.policy)}};
  if (done) {
    log(LogLevel::info, "reloaded, policy {}", door_.policy.hash());
    for (const auto& warning : door_.policy.warnings()) log(LogLevel::warning, "{}", warning);
  } else {
    reply["error"] = done.error().message;
  }
  send(json::serialize(reply));
}

void Control::write_note(const boost::json::object& request) {
  const auto* text = request.if_contains("text");
  const Result<void> written =
      text == nullptr || !text->is_string()
          ? Result<void>(fail("a note needs a text"))
          : door_.audit.note({text->as_string().data(), text->as_string().size()});
  json::object answer{{"event", "noted"}};
  if (!written) answer["error"] = written.error().message;
  send(json::serialize(answer));
}

void Control::send_stats() {
  const Stats& stats = door_.stats;
  send(json::serialize(
      json::object{{"event", "stats"},
                   {"canary_connections", canary_ == nullptr ? 0 : canary_->connections()},
                   {"canary_requests", canary_ == nullptr ? 0 : canary_->requests()},
                   {"requests", stats.requests},
                   {"denied", stats.denied},
                   {"records", door_.audit.records()},
                   {"connections", stats.connections}}));
}

void Control::send_head() {
  const audit::Head& head = door_.audit.head();
  if (head.sequence == sent_sequence_) return;
  sent_sequence_ = head.sequence;
  send(json::serialize(
      json::object{{"event", "head"}, {"seq", head.sequence}, {"sha256", head.sha256}}));
}

void Control::send(const std::string& json) {
  const std::string line = json + "\n";
  const ssize_t count =
      ::send(socket_.native_handle(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  // Its end is noticed by read_loop().
  if (count != static_cast<ssize_t>(line.size()) && errno != EPIPE && errno != ECONNRESET) {
    log(LogLevel::warning, "the supervisor does not read its control socket");
  }
}

}  // namespace pinhole::pep
