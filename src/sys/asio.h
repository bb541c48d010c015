// SPDX-License-Identifier: Apache-2.0
// Boost.Asio as the project uses it: coroutines, one thread, errors as values. Include this, not
// Boost's umbrella header: a thin include keeps each file's compile time bearable.
//
// House rule (scripts/check enforces it): a co_await is a whole statement or a whole initializer.
#pragma once

#include <chrono>
#include <optional>
#include <tuple>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace pinhole {

namespace asio = boost::asio;
using boost::system::error_code;

/// Completion token: `auto [error, n] = co_await socket.async_read_some(buffer, as_result);`
inline constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

/// What `operation` returns, or nothing when `limit` passed first (the operation is cancelled
/// then). boost 1.81 has no cancel_after.
template <typename T>
asio::awaitable<std::optional<T>> with_deadline(asio::awaitable<T> operation,
                                                std::chrono::milliseconds limit) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  auto first = co_await (std::move(operation) || timer.async_wait(as_result));
  if (first.index() == 1) co_return std::nullopt;
  co_return std::move(std::get<0>(first));
}

}  // namespace pinhole
