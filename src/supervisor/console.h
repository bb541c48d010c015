// SPDX-License-Identifier: Apache-2.0
// console.log: what the machine said on ttyS0 and hvc0, capped, with a separator per boot.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "supervisor/capped_log.h"
#include "supervisor/console_signs.h"
#include "supervisor/console_text.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::supervisor {

/// Drains the console's pipe for as long as the machine lives, so that the machine never waits for
/// us. The file holds the guest's bytes as they are; whoever shows them passes them through
/// printable().
class ConsoleLog {
 public:
  using OnSigns = std::function<void(const std::vector<ConsoleSign>& signs)>;

  static Result<std::unique_ptr<ConsoleLog>> open(asio::io_context& io,
                                                  const std::filesystem::path& path, Fd read_end,
                                                  OnSigns on_signs = nullptr);

  asio::awaitable<void> run();

  /// Waits until all that the machine said is here, which it is once the machine is gone.
  asio::awaitable<void> drained(std::chrono::milliseconds limit);

  [[nodiscard]] const ConsoleSigns& signs() const { return signs_; }
  /// QEMU has reset the machine: what was seen belongs to the boot before.
  void machine_reset() { signs_.forget(); }

  /// The last lines, printable and without colours and the like, oldest first.
  [[nodiscard]] std::vector<std::string> tail() const;
  [[nodiscard]] std::uint64_t bytes_seen() const { return bytes_seen_; }

 private:
  ConsoleLog(asio::io_context& io, CappedLog log, Fd read_end, OnSigns on_signs);
  void remember(std::string_view line);

  CappedLog log_;
  asio::posix::stream_descriptor pipe_;
  std::uint64_t bytes_seen_ = 0;
  bool ended_ = false;
  sys::Event end_;
  std::deque<std::string> lines_;
  ConsoleText text_;
  ConsoleSigns signs_;
  OnSigns on_signs_;
};

}  // namespace pinhole::supervisor
