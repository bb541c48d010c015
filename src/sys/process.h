// SPDX-License-Identifier: Apache-2.0
// Child processes: started with exactly what their Command lists, dead when their parent is, and
// stopped by one function (polite, firm, over).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "sys/file_view.h"
#include "sys/landlock.h"
#include "sys/seccomp.h"

namespace pinhole::sys {

/// One line of /proc/PID/uid_map: `count` ids from `inside` are `outside` on the host.
struct IdMap {
  std::uint32_t inside = 0;
  std::uint32_t outside = 0;
  std::uint32_t count = 0;
};

/// How the child is set apart from the host. Where a member is left out, the child shares it. All but Landlock needs
/// a user namespace: see sys/host_confinement.h for hosts that refuse those.
struct Isolation {
  /// A user namespace. `id_map` empty: only the caller's own ids, mapped to themselves (needs no
  /// helper). Otherwise the maps are written by newuidmap/newgidmap (package uidmap) and the child
  /// becomes id 0 inside.
  bool user = false;
  std::vector<IdMap> uid_map = {};
  std::vector<IdMap> gid_map = {};
  bool network = false;  // nothing but a loopback interface that is down
  bool ipc = false;
  bool pid = false;                   // it is process 1 and sees no other
  std::optional<FileView> root = {};  // its own mount namespace, and what that holds
  std::optional<LandlockRules> landlock = {};
};

/// setrlimit(2): soft and hard limit alike.
struct ResourceLimit {
  int resource = 0;
  std::uint64_t value = 0;
};

/// What to start. The child inherits no environment, no descriptor and no signal mask but what
/// stands here.
struct Command {
  std::filesystem::path program;       // absolute
  std::vector<std::string> args = {};  // without argv[0]
  std::map<std::string, std::string> environment = {};
  std::filesystem::path working_dir = "/";
  /// Child's descriptor number -> the parent's descriptor (borrowed for the call). 0 is /dev/null
  /// unless given; 1 and 2 are /dev/null unless given. Numbers from 3 up should be dense and small.
  std::map<int, int> descriptors = {};
  Isolation isolation = {};
  /// SIGKILL when the thread that called spawn() ends (prctl PR_SET_PDEATHSIG): call it from a
  /// thread that lives as long as the process.
  bool die_with_parent = true;
  bool new_session = false;  // setsid(): survives the terminal; a supervisor wants this
  /// Only for programs that must be setuid (newuidmap) or start such ones (mmdebstrap); else
  /// no_new_privs is set.
  bool may_gain_privileges = false;
  SpawnFilter filter = SpawnFilter::none;
  std::vector<ResourceLimit> limits = {};
};

/// How a child ended.
struct ExitStatus {
  bool signaled = false;
  int value = 0;  // exit status, or the signal's number
  [[nodiscard]] bool ok() const { return !signaled && value == 0; }
  /// "exited with status 3", "was killed by SIGKILL"
  [[nodiscard]] std::string text() const;
};

/// A running child. The destructor kills and reaps what still runs.
class Process {
 public:
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Becomes readable when the child has ended; owned by this object.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  /// Never blocks: nothing while it runs.
  std::optional<ExitStatus> poll();
  /// Blocks for at most `limit`.
  std::optional<ExitStatus> wait_for(std::chrono::milliseconds limit);
  void signal(int number);
  /// SIGTERM, up to `grace`, SIGKILL, reap. Returns how it ended.
  ExitStatus stop(std::chrono::milliseconds grace);
  /// Lets it live on: it is nobody's child to reap any more once we end.
  void release();

 private:
  friend Result<Process> spawn(const Command& command);
  Process(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = -1;
  Fd pidfd_;
  std::optional<ExitStatus> ended_;
};

/// Error code of a spawn() that failed because this host refuses ordinary users what the isolation asks for.
inline constexpr const char* kRefused = "refused";
/// Returns once the child has called execve, so a missing program or a refused namespace is an
/// error here, with the step that failed in its message.
Result<Process> spawn(const Command& command);

/// What a short-lived program said. `out` and `err` are cut at the limit.
struct Output {
  ExitStatus status;
  std::string out;
  std::string err;
};
struct RunLimits {
  std::chrono::milliseconds time = std::chrono::minutes(2);
  std::size_t bytes = std::size_t{1} << 20;
  std::string input = {};  // given on stdin
};
/// Runs `command` to its end; a passed deadline kills it and is an error.
Result<Output> run(Command command, const RunLimits& limits);

/// First act of every program's main: no core dumps, not dumpable (so no other process of the user
/// reads our memory), umask 077, SIGPIPE ignored. no_new_privs is set on what we spawn instead: the
/// supervisor itself must be able to run newuidmap.
void harden_self();

}  // namespace pinhole::sys
