// SPDX-License-Identifier: Apache-2.0
#include "agent/proxy.h"

#include <memory>
#include <utility>

#include <netinet/in.h>

#include <boost/asio/ip/tcp.hpp>

#include "base/fd.h"
#include "base/log.h"
#include "sys/loopback.h"

namespace pinhole::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDoorLimit{10'000};
constexpr milliseconds kRetry{500};
constexpr int kBacklog = 128;
/// Large pieces keep the number of vsock packets, each with its cost in the device, small.
constexpr std::size_t kPiece = 64 * 1024;

struct Relay {
  Stream left;
  Stream right;
};

bool ended(error_code error) { return error == asio::error::eof; }

/// True when `from` ended and `to` was told so; false when something broke.
asio::awaitable<bool> copy(std::shared_ptr<Relay> pair, bool leftward) {
  Stream& from = leftward ? pair->right : pair->left;
  Stream& to = leftward ? pair->left : pair->right;
  // Not filled with zeroes: pages that no byte reached are never made resident.
  const auto buffer = std::make_unique_for_overwrite<char[]>(kPiece);
  for (;;) {
    const auto [error, n] =
        co_await from.async_read_some(asio::buffer(buffer.get(), kPiece), as_result);
    if (ended(error)) break;
    if (error) co_return false;
    const auto [write_error, written] =
        co_await asio::async_write(to, asio::buffer(buffer.get(), n), as_result);
    if (write_error) co_return false;
  }
  error_code ignored;  // already closed by the other side: the other direction will tell
  to.shutdown(Stream::shutdown_send, ignored);
  co_return true;
}

/// A failed direction ends both at once: the other one's waits end, and new ones find the streams
/// closed.
asio::awaitable<void> copy_or_reset(std::shared_ptr<Relay> pair, bool leftward) {
  const bool whole = co_await copy(pair, leftward);
  if (whole) co_return;
  reset_stream(pair->left);
  reset_stream(pair->right);
}

asio::awaitable<void> serve(Stream client, Endpoint door) {
  auto connected = co_await connect_stream(door, kDoorLimit);
  if (connected) {
    co_await relay(std::move(client), std::move(*connected));
  } else {
    log(LogLevel::warning, "proxy: {}", connected.error().message);
    reset_stream(client);
  }
}

/// Gives its place back however it ends.
asio::awaitable<void> serve_in_place(Stream client, std::shared_ptr<Places> places,
                                     ServeStream serve) {
  struct Place {
    std::shared_ptr<Places> places;
    ~Place() {
      ++places->free;
      places->freed.cancel();
    }
  };
  const Place place{std::move(places)};
  co_await serve(std::move(client));
}

Result<Acceptor> listen(const asio::any_io_executor& executor, std::uint16_t port) {
  PINHOLE_TRY(Fd listener, sys::listen_loopback(port, kBacklog));
  Acceptor acceptor(executor);
  error_code error;
  acceptor.assign({AF_INET, IPPROTO_TCP}, listener.release(), error);
  if (error) return fail("cannot listen on 127.0.0.1:{}: {}", port, error.message());
  return acceptor;
}

}  // namespace

void reset_stream(Stream& stream) {
  error_code ignored;
  stream.set_option(asio::socket_base::linger(true, 0), ignored);
  stream.close(ignored);
}

asio::awaitable<void> accept_each(std::shared_ptr<Acceptor> acceptor,
                                  std::shared_ptr<Places> places, ServeStream serve) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  while (acceptor->is_open()) {
    while (places->free <= 0) co_await places->freed.async_wait(as_result);
    auto [error, client] = co_await acceptor->async_accept(as_result);
    if (error) {  // out of descriptors or memory: others must end first
      if (!acceptor->is_open()) co_return;
      pause.expires_after(kRetry);
      co_await pause.async_wait(as_result);
      continue;
    }
    --places->free;
    asio::co_spawn(executor, serve_in_place(std::move(client), places, serve), asio::detached);
  }
}

asio::awaitable<void> relay(Stream left, Stream right) {
  using asio::experimental::awaitable_operators::operator&&;
  const auto pair = std::make_shared<Relay>(std::move(left), std::move(right));
  co_await (copy_or_reset(pair, true) && copy_or_reset(pair, false));
}

asio::awaitable<void> run_proxy(std::uint16_t port, Endpoint door) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  for (bool told = false;; told = true) {
    auto acceptor = listen(executor, port);
    if (acceptor) {
      co_await accept_each(std::make_shared<Acceptor>(std::move(*acceptor)),
                           std::make_shared<Places>(executor, kProxyConnections),
                           [door](Stream client) { return serve(std::move(client), door); });
    }
    if (!acceptor && !told) log(LogLevel::warning, "proxy: {}", acceptor.error().message);
    pause.expires_after(kRetry);
    co_await pause.async_wait(as_result);
  }
}

}  // namespace pinhole::agent
