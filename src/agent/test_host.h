// SPDX-License-Identifier: Apache-2.0
// For this module's tests: the agent's event loop in a thread, and the host's side as plain
// blocking sockets.
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/endpoint.h"
#include "base/fd.h"
#include "sys/asio.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::agent {

/// Every blocking step of a test host is bounded, so that a failure is a failure and not a hang.
inline constexpr int kPatienceMs = 20'000;

/// A blocking socket of the host.
class Peer {
 public:
  explicit Peer(Fd fd) : fd_(std::move(fd)) {
    const timeval limit{.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }
  /// False when the other side is gone.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// Some bytes; empty at the end, after an error, or when patience ran out.
  std::string receive() {
    std::string piece(64 * 1024, '\0');
    const ssize_t n = ::recv(fd_.get(), piece.data(), piece.size(), 0);
    piece.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return piece;
  }
  std::string receive_all() {
    std::string all;
    for (std::string piece = receive(); !piece.empty(); piece = receive()) all += piece;
    return all;
  }
  /// A line without its newline; what came after it is kept.
  std::string line() {
    for (;;) {
      if (const auto end = pending_.find('\n'); end != std::string::npos) {
        std::string result = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return result;
      }
      const std::string piece = receive();
      if (piece.empty()) return {};
      pending_ += piece;
    }
  }
  void end_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }
  [[nodiscard]] int get() const { return fd_.get(); }

 private:
  Fd fd_;
  std::string pending_;
};

class Listener {
 public:
  explicit Listener(const std::filesystem::path& path) : path_(path.string()) {
    fd_ = sys::listen_unix(path).value();
  }
  [[nodiscard]] Endpoint endpoint() const { return UnixPath{path_}; }
  Peer accept() {
    pollfd waited{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    ::poll(&waited, 1, kPatienceMs);
    return Peer(Fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  }
  void close() { fd_.reset(); }

 private:
  std::string path_;
  Fd fd_;
};

/// A door that treats each connection with `serve`, one after the other.
class FakeDoor {
 public:
  FakeDoor(const std::filesystem::path& path, int connections, std::function<void(Peer&)> serve)
      : listener_(path), thread_([this, connections, serve = std::move(serve)] {
          for (int i = 0; i < connections; ++i) {
            Peer peer = listener_.accept();
            serve(peer);
          }
        }) {}
  [[nodiscard]] Endpoint endpoint() const { return listener_.endpoint(); }

 private:
  Listener listener_;
  std::jthread thread_;
};

/// The agent's event loop, until the end of the test.
class Loop {
 public:
  explicit Loop(std::vector<asio::awaitable<void>> services) {
    std::signal(SIGPIPE, SIG_IGN);  // as the program's main does
    for (auto& service : services) asio::co_spawn(context_, std::move(service), asio::detached);
    context_.poll();  // each up to its first wait: from here on it listens
    thread_ = std::jthread([this] { context_.run(); });
  }
  ~Loop() { context_.stop(); }
  Loop(const Loop&) = delete;

 private:
  asio::io_context context_;
  std::jthread thread_;
};

/// Runs one coroutine to its end in this thread.
template <typename T>
T run_to_end(asio::awaitable<T> operation) {
  asio::io_context context;
  std::optional<T> result;
  asio::co_spawn(context, std::move(operation), [&](const std::exception_ptr& error, T value) {
    if (error) std::rethrow_exception(error);
    result.emplace(std::move(value));
  });
  context.run();
  return std::move(result).value();
}

}  // namespace pinhole::agent
