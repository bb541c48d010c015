// SPDX-License-Identifier: Apache-2.0
// console.log: what the machine said on ttyS0 and hvc0, capped, with a separator per boot.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "supervisor/capped_log.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::supervisor {

/// Drains the console's pipe for as long as the machine lives, so that the machine never waits for
/// us. The file holds the guest's bytes as they are; whoever shows them passes them through
/// printable().
class ConsoleLog {
 public:
  static Result<std::unique_ptr<ConsoleLog>> open(asio::io_context& io,
                                                  const std::filesystem::path& path, Fd read_end);

  asio::awaitable<void> run();

  /// Waits until all that the machine said is here, which it is once the machine is gone.
  asio::awaitable<void> drained(std::chrono::milliseconds limit);

  /// The last lines, printable, oldest first.
  [[nodiscard]] std::vector<std::string> tail() const;
  [[nodiscard]] std::uint64_t bytes_seen() const { return bytes_seen_; }

 private:
  ConsoleLog(asio::io_context& io, CappedLog log, Fd read_end);
  void remember(std::string_view bytes);

  CappedLog log_;
  asio::posix::stream_descriptor pipe_;
  std::uint64_t bytes_seen_ = 0;
  bool ended_ = false;
  sys::Event end_;
  std::deque<std::string> lines_;
  std::string unfinished_;
};

}  // namespace pinhole::supervisor
