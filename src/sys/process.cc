// SPDX-License-Identifier: Apache-2.0
#include "sys/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/strings.h"
#include "sys/child_setup.h"
#include "sys/files.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

ExitStatus status_of(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.signaled = true, .value = WTERMSIG(wait_status)};
  return {.signaled = false, .value = WEXITSTATUS(wait_status)};
}

/// newuidmap/newgidmap PID inside outside count …
Result<void> write_id_map(std::string_view tool, pid_t pid, const std::vector<IdMap>& map) {
  const auto program = find_program(tool);
  if (!program) {
    return fail(
        Error{.message = fmt::format(
                  "{} is missing; without it files of the workspace would get wrong owners", tool),
              .fix = "sudo apt-get install uidmap"});
  }
  Command command{.program = *program, .args = {std::to_string(pid)}, .may_gain_privileges = true};
  for (const IdMap& line : map) {
    for (const std::uint32_t number : {line.inside, line.outside, line.count})
      command.args.push_back(std::to_string(number));
  }
  PINHOLE_TRY(const Output output, run(std::move(command), {.time = std::chrono::seconds(10)}));
  if (!output.status.ok()) {
    return fail(
        Error{.message = fmt::format("{} {}: {}", tool, output.status.text(), trim(output.err)),
              .fix = "grant this user 65536 subordinate ids that nobody else has in /etc/subuid "
                     "and /etc/subgid: "
                     "sudo usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST $USER"});
  }
  return {};
}

/// fork(2) into new namespaces. A PID namespace holds from the first child on, so unshare(2) would take a second fork.
pid_t fork_into(int flags) {
  if (flags == 0) return ::fork();
  return static_cast<pid_t>(::syscall(SYS_clone, static_cast<unsigned long>(flags) | SIGCHLD,
                                      nullptr, nullptr, nullptr, 0UL));
}

/// The parent's half of the handshake with a child that asked for a full id map.
Result<void> map_ids(const Command& command, pid_t pid, int ready_fd, int go_fd) {
  char byte = 0;
  if (::read(ready_fd, &byte, 1) != 1) return {};  // the child failed before; its report says why
  PINHOLE_TRY_VOID(write_id_map("newuidmap", pid, command.isolation.uid_map));
  PINHOLE_TRY_VOID(write_id_map("newgidmap", pid, command.isolation.gid_map));
  return write_all(go_fd, "g");
}

/// What kernels and containers answer to an ordinary user who asks for namespaces and mounts where they are switched off.
bool is_refusal(int error) {
  return error == EPERM || error == EACCES || error == ENOSPC || error == EINVAL ||
         error == ENOSYS || error == EUSERS;
}

Result<void> await_exec(const Command& command, int report_fd) {
  SetupFailure failure{};
  const ssize_t n = ::read(report_fd, &failure, sizeof(failure));
  if (n == 0) return {};  // closed by execve
  if (n != static_cast<ssize_t>(sizeof(failure)))
    return fail("cannot start {}: it ended before it ran", command.program.string());
  return fail({.message = fmt::format("cannot start {}: {}: {}", command.program.string(),
                                      failure.step, errno_text(failure.error)),
               .code = is_refusal(failure.error) ? kRefused : ""});
}

}  // namespace

bool forbid_core_dumps() {
  // 1, not 0: where dumps go to a program (core(5), core_pattern), the kernel heeds only this limit. Who was started with
  // a hard limit of 0 keeps that.
  const rlimit one{1, 1};
  const rlimit none{0, 0};
  return ::setrlimit(RLIMIT_CORE, &one) == 0 || ::setrlimit(RLIMIT_CORE, &none) == 0;
}

std::string ExitStatus::text() const {
  if (!signaled) return fmt::format("exited with status {}", value);
  const char* name = ::sigabbrev_np(value);
  return name == nullptr ? fmt::format("was killed by signal {}", value)
                         : fmt::format("was killed by SIG{}", name);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), ended_(other.ended_) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(ended_, other.ended_);
  return *this;
}

Process::~Process() {
  if (pid_ < 0 || ended_) return;
  signal(SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

std::optional<ExitStatus> Process::poll() {
  if (ended_ || pid_ < 0) return ended_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == pid_) ended_ = status_of(status);
  return ended_;
}

std::optional<ExitStatus> Process::wait_for(milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  for (;;) {
    if (auto ended = poll()) return ended;
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd waited{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    ::poll(&waited, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
  }
}

void Process::signal(int number) {
  // By pidfd: a reused pid is never hit.
  if (pid_ >= 0 && !ended_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

ExitStatus Process::stop(milliseconds grace) {
  signal(SIGTERM);
  if (auto ended = wait_for(grace)) return *ended;
  signal(SIGKILL);
  constexpr auto kReap =
      std::chrono::seconds(10);  // a killed process stuck in the kernel does not hold us for ever
  return wait_for(kReap).value_or(ExitStatus{.signaled = true, .value = SIGKILL});
}

void Process::release() {
  pid_ = -1;
  pidfd_.reset();
}

Result<Process> spawn(const Command& command) {
  PINHOLE_CHECK(command.program.is_absolute());
  PINHOLE_TRY(auto report, make_pipe());
  PINHOLE_TRY(auto ready, make_pipe());
  PINHOLE_TRY(auto go, make_pipe());
  const ChildPipes pipes{.report = report.second.get(),
                         .ready = ready.second.get(),
                         .go = go.first.get(),
                         .go_writer = go.second.get()};
  const uid_t uid = ::getuid();
  const gid_t gid = ::getgid();
  const pid_t pid = fork_into(clone_flags(command.isolation));
  if (pid < 0) {
    // clone(2) says "no space left on device" for a limit that is 0.
    const int why = errno;
    return fail({.message = fmt::format(
                     "cannot start {}: making its namespaces: {}", command.program.string(),
                     why == ENOSPC ? "this host allows no more (user.max_user_namespaces)"
                                   : errno_text(why)),
                 .code = is_refusal(why) ? kRefused : ""});
  }
  if (pid == 0) become_child(command, pipes, uid, gid);
  report.second.reset();
  ready.second.reset();
  go.first.reset();
  Process process(pid, Fd(pidfd_open(pid)));
  if (!process.pidfd_)
    ::kill(pid, SIGKILL);  // its destructor reaps it, and has no pidfd to signal it by
  if (!process.pidfd_)
    return fail("cannot watch {}: {}", command.program.string(), errno_text(errno));
  if (!command.isolation.uid_map.empty())
    PINHOLE_TRY_VOID(map_ids(command, pid, ready.first.get(), go.second.get()));
  PINHOLE_TRY_VOID(await_exec(command, report.first.get()));
  return process;
}

void harden_self() {
  PINHOLE_CHECK(forbid_core_dumps());
  PINHOLE_CHECK(::prctl(PR_SET_DUMPABLE, 0) == 0);
  ::umask(077);
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace pinhole::sys
