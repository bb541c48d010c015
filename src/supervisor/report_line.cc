// SPDX-License-Identifier: Apache-2.0
#include "supervisor/report_line.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace pinhole::supervisor {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// False when `deadline` passed first.
bool await_room(int fd, steady_clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left <= milliseconds(0)) return false;
    pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&room, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace

bool write_report_line(int fd, std::string_view line, milliseconds limit) {
  const bool whole = line.size() <= PIPE_BUF;
  const auto deadline = steady_clock::now() + limit;
  const std::size_t all = line.size();
  while (!line.empty()) {
    const ssize_t n = ::write(fd, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n >= 0) {
      line.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    const bool full = errno == EAGAIN;
    if (whole || !full || !await_room(fd, deadline)) break;
  }
  return line.empty() || line.size() == all;
}

}  // namespace pinhole::supervisor
