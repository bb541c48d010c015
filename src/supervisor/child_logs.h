// SPDX-License-Identifier: Apache-2.0
// supervisor.log: what the processes of a VM say on stdout and stderr.
#pragma once

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/fd.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::supervisor {

/// Each process gets a pipe, never the file: a process that was broken into could make a file huge, or empty it. One that
/// says too much loses the rest, which is counted in the log; none is ever made to wait.
class ChildLogs {
 public:
  static constexpr std::size_t kBurst = 256 << 10;         // bytes of one process at once
  static constexpr std::size_t kBytesPerSecond = 4 << 10;  // and in the long run

  ChildLogs(asio::io_context& io, std::filesystem::path path)
      : io_(io), path_(std::move(path)), changed_(io) {}

  /// The write end for one process; close it once that has started.
  Result<Fd> open();
  /// Waits until all that was said is written, which is after the last process has ended.
  asio::awaitable<void> drained(std::chrono::milliseconds limit);

 private:
  asio::awaitable<void> drain(asio::posix::stream_descriptor pipe, Fd file);

  asio::io_context& io_;
  std::filesystem::path path_;
  sys::Event changed_;
  std::size_t running_ = 0;
};

}  // namespace pinhole::supervisor
