// SPDX-License-Identifier: Apache-2.0
// Waiting for a descriptor that is not read by asio itself: a pidfd, a pipe that is only to end.
#pragma once

#include <poll.h>

#include <utility>

#include "base/fd.h"
#include "sys/asio.h"

namespace pinhole::sys {

/// True once `fd` has bytes, an end or an error; false when it cannot be waited for. Give it a copy
/// (F_DUPFD_CLOEXEC) of what somebody else holds.
///
/// asio's wait may return for nothing: it uses the record of a closed descriptor again while an
/// event of that one is still on its way (epoll_reactor, Boost 1.81). Its reads try once more then;
/// a bare wait has to look for itself.
inline asio::awaitable<bool> until_readable(Fd fd) {
  if (!fd) co_return false;
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, fd.release());
  for (;;) {
    const auto [error] =
        co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, as_result);
    if (error) co_return false;
    pollfd now{.fd = descriptor.native_handle(), .events = POLLIN, .revents = 0};
    if (::poll(&now, 1, 0) != 0) co_return true;
  }
}

}  // namespace pinhole::sys
