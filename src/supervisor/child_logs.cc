// SPDX-License-Identifier: Apache-2.0
#include "supervisor/child_logs.h"

#include <algorithm>
#include <array>

#include "supervisor/capped_log.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

using std::chrono::steady_clock;

/// How many bytes one process may still write into the log.
class Allowance {
 public:
  std::size_t take(std::size_t wanted, steady_clock::time_point now) {
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_).count();
    const auto earned = static_cast<std::size_t>(passed) * ChildLogs::kBytesPerSecond / 1000;
    if (earned > 0) {
      left_ = std::min(ChildLogs::kBurst, left_ + earned);
      last_ = now;
    }
    const std::size_t granted = std::min(wanted, left_);
    left_ -= granted;
    return granted;
  }

 private:
  std::size_t left_ = ChildLogs::kBurst;
  steady_clock::time_point last_ = steady_clock::now();
};

}  // namespace

Result<Fd> ChildLogs::open() {
  PINHOLE_TRY(Fd file, sys::open_append(path_));
  PINHOLE_TRY(auto pipe, sys::make_pipe());
  // A process that is read slowly loses nothing and waits a moment; QEMU's console is read the same way.
  asio::posix::stream_descriptor read_end(io_, pipe.first.release());
  ++running_;
  asio::co_spawn(io_, drain(std::move(read_end), std::move(file)), asio::detached);
  return std::move(pipe.second);
}

asio::awaitable<void> ChildLogs::drain(asio::posix::stream_descriptor pipe, Fd file) {
  std::array<char, 16384> chunk;
  Allowance allowance;
  std::size_t dropped = 0;
  std::size_t since_cap = 0;
  for (;;) {
    const auto [error, n] = co_await pipe.async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    const std::size_t granted = allowance.take(n, steady_clock::now());
    dropped += n - granted;
    if (granted == 0) continue;
    if (granted == n && dropped > 0) {
      (void)sys::write_all(file.get(),
                           fmt::format("[{} bytes too many were dropped here]\n", dropped));
      dropped = 0;
    }
    // On a full disk the words are lost, and their process goes on.
    (void)sys::write_all(file.get(), {chunk.data(), granted});
    since_cap += granted;
    if (since_cap < kBurst) continue;
    cap_shared_log(path_);
    since_cap = 0;
  }
  --running_;
  changed_.notify();
}

asio::awaitable<void> ChildLogs::drained(std::chrono::milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  bool in_time = true;
  while (running_ > 0 && in_time) in_time = co_await changed_.wait_until(deadline);
}

}  // namespace pinhole::supervisor
