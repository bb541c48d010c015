// SPDX-License-Identifier: Apache-2.0
#include "pep/server.h"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>

#include "base/log.h"

namespace pinhole::pep {

using std::chrono::steady_clock;

namespace {

asio::generic::stream_protocol protocol_of(int socket) {
  int family = AF_UNIX;
  socklen_t size = sizeof family;
  ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size);
  return {family, 0};
}

}  // namespace

Server::Server(Door& door, Fd listener)
    : door_(door),
      acceptor_(door.context, protocol_of(listener.get()), listener.get()),
      tick_(door.context),
      room_(door.context) {
  [[maybe_unused]] const int taken = listener.release();
}

void Server::start() {
  asio::co_spawn(door_.context, accept_loop(), asio::detached);
  asio::co_spawn(door_.context, tick_loop(), asio::detached);
}

asio::awaitable<void> Server::accept_loop() {
  constexpr std::chrono::milliseconds kPause{
      100};  // when accept fails for lack of descriptors or memory
  while (!stopping_) {
    [[maybe_unused]] auto [failed] =
        co_await acceptor_.async_wait(asio::socket_base::wait_read, as_result);
    if (stopping_) co_return;
    // Beyond the limit connections wait in the backlog; the device holds those that do not fit
    // there.
    if (sessions_.size() >= door_.policy.limits().connections) {
      close_idle_one();
      co_await room_.wait();
      continue;
    }
    auto [error, socket] = co_await acceptor_.async_accept(as_result);
    if (stopping_) co_return;
    if (error) {
      log(LogLevel::warning, "cannot accept a connection: {}", error.message());
      asio::steady_timer pause(door_.context, kPause);
      [[maybe_unused]] auto [ignored] = co_await pause.async_wait(as_result);
      continue;
    }
    start_session(std::move(socket));
  }
}

void Server::start_session(Connection::Socket socket) {
  ++door_.stats.connections;
  error_code of_a_unix_socket;
  socket.set_option(asio::ip::tcp::no_delay(true), of_a_unix_socket);
  auto session = std::make_shared<Session>(door_, std::move(socket));
  sessions_.insert(session);
  asio::co_spawn(door_.context, session->run(), [this, session](const std::exception_ptr& thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      log(LogLevel::error, "a connection ended by a fault: {}", error.what());
      session->close();
    }
    sessions_.erase(session);
    room_.notify();
  });
}

void Server::close_idle_one() {
  const auto now = steady_clock::now();
  std::shared_ptr<Session> oldest;
  for (const auto& session : sessions_) {
    if (!session->can_be_closed(now)) continue;
    if (!oldest || session->last_activity() < oldest->last_activity()) oldest = session;
  }
  if (oldest) oldest->close();  // its place is free once its coroutine is done
}

asio::awaitable<void> Server::tick_loop() {
  auto flushed = steady_clock::now();
  while (true) {
    tick_.expires_after(door_.times.tick);
    auto [error] = co_await tick_.async_wait(as_result);
    if (error && stopping_ && sessions_.empty()) co_return;
    const auto now = steady_clock::now();
    const std::vector<std::shared_ptr<Session>> all(sessions_.begin(), sessions_.end());
    for (const auto& session : all) session->check_deadline(now);
    room_.notify();  // a connection may have become idle
    if (now - flushed < std::chrono::seconds(1)) continue;
    flushed = now;
    if (auto written = door_.audit.flush(); !written)
      log(LogLevel::error, "{}", written.error().message);
  }
}

asio::awaitable<void> Server::stop() {
  constexpr std::chrono::milliseconds kUnwind{500};  // for coroutines to notice that they were cut
  stopping_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  const std::vector<std::shared_ptr<Session>> all(sessions_.begin(), sessions_.end());
  for (const auto& session : all) session->finish_soon();
  const auto cut_at = steady_clock::now() + door_.times.grace;
  bool cut = false;
  while (!sessions_.empty() && steady_clock::now() < cut_at + kUnwind) {
    if (!cut && steady_clock::now() >= cut_at) {
      cut = true;
      for (const auto& session : all) session->close();
    }
    asio::steady_timer look(door_.context, std::chrono::milliseconds(5));
    [[maybe_unused]] auto [error] = co_await look.async_wait(as_result);
  }
  tick_.cancel();
}

}  // namespace pinhole::pep
