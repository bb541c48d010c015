// SPDX-License-Identifier: Apache-2.0
// status.log: what became of a VM, one line per state change, stage and heartbeat, for people and
// for grep:
//
//   2026-11-22T17:36:22.862Z VM state: 4 (starting)
//   2026-11-22T17:36:58.101Z stage cloud-init: ok after 21.4 s
//   2026-11-22T17:36:59.310Z VM state: 1 (running)
//   2026-11-22T17:40:00.000Z VM state: 0 (stopped): pinhole down
//
// An error has a line before it:
//
//   2026-11-22T17:37:01.000Z failure kernel_panic in stage kernel; fix: pinhole logs --console web
//   2026-11-22T17:37:01.000Z VM state: 3 (error): VM "web": the guest's kernel panicked: …
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "supervisor/capped_log.h"

namespace pinhole::supervisor {

/// The numbers of VZVirtualMachineState, on every backend.
enum class VmState {
  stopped = 0,
  running = 1,
  paused = 2,
  error = 3,
  starting = 4,
  pausing = 5,
  resuming = 6,
  stopping = 7,
  saving = 8,
  restoring = 9,
};
std::string_view to_string(VmState state);

class StatusLog {
 public:
  /// Appends to a capped log: neither a long life nor a guest that has much to say fills the disk.
  static Result<StatusLog> open(const std::filesystem::path& path);

  void state(VmState state, std::string_view reason = {});
  /// Why the state that follows is an error: one line before it, for programs and `pinhole status`.
  struct Failure {
    std::string code = {};   // failures::Failure::code
    std::string stage = {};  // in which the start ended; empty: the VM was up
    std::string fix = {};
  };
  void failure(const Failure& failure);
  void line(std::string_view text);
  /// A line that a guest, or a QEMU that it has broken, can cause as often as it likes: so many at once, one in ten
  /// seconds in the long run. What is too much is counted, and told with the next that is not.
  void foreign_line(std::string_view text,
                    std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());
  static constexpr std::uint64_t kForeignBurst = 100;
  static constexpr std::chrono::seconds kForeignInterval{10};

 private:
  explicit StatusLog(CappedLog log) : log_(std::move(log)) {}
  CappedLog log_;
  std::uint64_t foreign_left_ = kForeignBurst;
  std::uint64_t foreign_dropped_ = 0;
  std::chrono::steady_clock::time_point foreign_since_ = std::chrono::steady_clock::now();
};

/// The last state line of a log: what a VM that does not run now came to.
struct LastState {
  VmState state = VmState::stopped;
  std::string time;
  std::string reason;
  StatusLog::Failure failure = {};
};
LastState read_last_state(const std::filesystem::path& path);

}  // namespace pinhole::supervisor
