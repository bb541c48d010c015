// SPDX-License-Identifier: Apache-2.0
// A program run for somebody else inside the guest: under a uid and gid, in a session of its own,
// its three streams on pipes. Unlike sys/process.h it needs no namespaces and no helper programs,
// and never blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

struct SessionCommand {
  /// argv[0] is looked up in `env`'s PATH (or a usual one) unless it holds a slash.
  std::vector<std::string> argv;
  std::vector<std::string> env = {};  // NAME=value; all that it gets
  std::string cwd = "/";
  /// The caller's own when left out. When given, the only supplementary group is `gid`.
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> gid = {};
};

/// How it ended: one of the two.
struct SessionEnd {
  std::optional<int> exit = {};
  std::optional<int> signal = {};
};

/// Owns the child and our ends of its pipes. The destructor kills the process group if the leader
/// was not reaped; a leader that then takes its time to die is left to init.
class SessionChild {
 public:
  SessionChild(SessionChild&& other) noexcept;
  SessionChild& operator=(SessionChild&&) = delete;
  ~SessionChild();

  /// Becomes readable when the leader has ended.
  [[nodiscard]] const Fd& pidfd() const { return pidfd_; }
  /// Our ends of the pipes, for the caller to take.
  Fd input;
  Fd output;
  Fd errors;
  /// Becomes readable once the program runs or could not be started; then call started().
  Fd report;

  /// Error codes: "not_found" and "not_executable" for the program itself, else "failed".
  [[nodiscard]] Result<void> started(const SessionCommand& command);
  /// To the whole process group; nothing once the leader was reaped, when its number may be
  /// another's.
  void signal_group(int number);
  /// Nothing while the leader runs.
  std::optional<SessionEnd> reap();

 private:
  friend Result<SessionChild> spawn_session(const SessionCommand& command);
  SessionChild(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = -1;  // also the process group and session
  Fd pidfd_;
};

/// Returns at once: entering a folder of a file system whose server is gone may take for ever, and
/// is the child's trouble alone.
Result<SessionChild> spawn_session(const SessionCommand& command);

}  // namespace pinhole::sys
