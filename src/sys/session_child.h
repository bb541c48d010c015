// SPDX-License-Identifier: Apache-2.0
// A program run for somebody else inside the guest: under a uid and gid, in a session of its own,
// its three streams on pipes or on a terminal. Unlike sys/process.h it needs no namespaces and no
// helper programs, and never blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// setrlimit(2), soft and hard.
struct ResourceLimit {
  int resource = 0;  // RLIMIT_…
  std::uint64_t value = 0;
  std::string name;  // for messages
};

struct TerminalSize {
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
};

struct SessionCommand {
  /// argv[0] is looked up in `env`'s PATH (or a usual one) unless it holds a slash.
  std::vector<std::string> argv;
  std::vector<std::string> env = {};  // NAME=value; all that it gets
  std::string cwd = "/";
  /// The caller's own when left out. When given, the supplementary groups are `gid` and `groups`.
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> gid = {};
  std::vector<std::uint32_t> groups = {};
  std::vector<ResourceLimit> limits = {};
  /// A new terminal, the session's own, instead of the three pipes; it belongs to `uid`.
  std::optional<TerminalSize> terminal = {};
  /// A descriptor of the cgroup (v2) that it is born in; -1: the caller's own.
  int cgroup = -1;
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
  /// The leader's; -1 once it was reaped.
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Our ends of the pipes, for the caller to take. With a terminal, `input` and `output` are both
  /// its master (the session is hung up when the last of them is closed) and there is no `errors`.
  Fd input;
  Fd output;
  Fd errors;
  /// The terminal's other end: while it is held, the master does not report an end because nobody
  /// happens to have the terminal open.
  Fd terminal;
  /// Becomes readable once the program runs or could not be started; then call started().
  Fd report;

  /// Error codes: "not_found" and "not_executable" for the program itself, else "failed".
  [[nodiscard]] Result<void> started(const SessionCommand& command);
  /// To the whole process group; nothing once the leader was reaped, when its number may be
  /// another's.
  void signal_group(int number);
  /// SIGKILL to every process of the session, whatever its group (a shell with a terminal gives each
  /// of its jobs one); those that made a session of their own are not found. As signal_group() only
  /// before the leader was reaped.
  void kill_session();
  /// Nothing while the leader runs.
  std::optional<SessionEnd> reap();

 private:
  friend Result<SessionChild> spawn_session(const SessionCommand& command);
  SessionChild() = default;
  pid_t pid_ = -1;  // also the process group and session
  Fd pidfd_;
};

/// Returns at once: entering a folder of a file system whose server is gone may take for ever, and
/// is the child's trouble alone.
Result<SessionChild> spawn_session(const SessionCommand& command);

/// Lets this process open as many descriptors as it may; what spawn_session() starts later has the
/// soft limit of before again (select(2) breaks beyond 1024).
void raise_descriptor_limit();

/// The session of a process by the text of its /proc/PID/stat; nothing when that is no such text.
std::optional<std::int64_t> session_of_stat(std::string_view stat);

}  // namespace pinhole::sys
