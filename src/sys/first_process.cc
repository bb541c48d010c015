// SPDX-License-Identifier: Apache-2.0
#include "sys/first_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "base/strings.h"

namespace pinhole::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kServicePause{1000};
constexpr milliseconds kForever{60'000};
/// From SIGTERM to SIGKILL. A shell with a terminal ignores SIGTERM; nobody should wait for it long.
constexpr milliseconds kTermGrace{700};
constexpr milliseconds kKillGrace{500};
/// A file system may be a server's that is gone.
constexpr milliseconds kSyncGrace{5000};

sigset_t awaited_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGRTMIN + 4}) ::sigaddset(&set, number);
  return set;
}

/// Waits for one of them, at most so long; 0: none came.
int await_signal(milliseconds limit) {
  const sigset_t set = awaited_signals();
  const timespec time{.tv_sec = limit.count() / 1000, .tv_nsec = limit.count() % 1000 * 1'000'000};
  const int number = ::sigtimedwait(&set, nullptr, &time);
  return number > 0 ? number : 0;
}

pid_t start_child(const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setsid();
  int status = 1;
  try {
    status = work();
  } catch (const std::exception& error) {
    log(LogLevel::error, "{}", error.what());
  }
  ::_exit(status);
}

/// Everybody who ended; whether `wanted` was among them.
bool reap(pid_t wanted, int* status = nullptr) {
  bool found = false;
  int ended_with = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &ended_with, WNOHANG)) > 0;) {
    if (pid != wanted) continue;
    found = true;
    if (status != nullptr) *status = ended_with;
  }
  return found;
}

std::string end_text(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

/// A kernel thread has no executable, and no signal concerns it.
bool is_program(pid_t pid) {
  std::array<char, 1> target;
  return ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), target.data(), target.size()) > 0;
}

std::vector<pid_t> programs_but(pid_t service) {
  std::vector<pid_t> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), &::closedir);
  while (const dirent* entry = folder ? ::readdir(folder.get()) : nullptr) {
    const auto pid = parse_u64(entry->d_name);
    if (!pid || *pid <= 1 || static_cast<pid_t>(*pid) == service) continue;
    if (is_program(static_cast<pid_t>(*pid))) found.push_back(static_cast<pid_t>(*pid));
  }
  return found;
}

/// Until `done`, which is asked after each end of a process, or the time is over.
template <typename Done>
void reap_until(milliseconds limit, pid_t service, Done done) {
  const auto until = steady_clock::now() + limit;
  while (!done()) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(until - steady_clock::now()) + milliseconds(1);
    if (left <= milliseconds(0)) return;
    (void)await_signal(left);
    (void)reap(service);
  }
}

/// The service goes last: it tells the host how the programs that it runs for it end.
void end_everybody(pid_t service) {
  for (const pid_t pid : programs_but(service)) {
    ::kill(pid, SIGTERM);
    ::kill(pid, SIGHUP);
    ::kill(pid, SIGCONT);
  }
  reap_until(kTermGrace, service, [&] { return programs_but(service).empty(); });
  ::kill(-1, SIGKILL);
  reap_until(kKillGrace, service, [] { return programs_but(-1).empty(); });
}

/// In a process of its own: where a server of files is gone, sync(2) does not come back.
void sync_all() {
  const pid_t pid = start_child([] {
    ::sync();
    return 0;
  });
  bool ended = pid < 0;
  reap_until(kSyncGrace, -1, [&] {
    ended = ended || ::waitpid(pid, nullptr, WNOHANG) != 0;
    return ended;
  });
  const Fd root(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!ended && root) ::syncfs(root.get());
}

[[noreturn]] void power_off() {
  ::reboot(RB_POWER_OFF);
  log(LogLevel::error, "cannot power off: {}", errno_text(errno));
  for (;;) ::pause();
}

}  // namespace

void run_first_process(const std::function<int()>& service) {
  const sigset_t set = awaited_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  if (const Fd mark(::open(kFirstProcessMark, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)); !mark)
    log(LogLevel::warning, "{}: {}", kFirstProcessMark, errno_text(errno));
  pid_t pid = -1;
  auto not_before = steady_clock::now();
  for (;;) {
    const auto now = steady_clock::now();
    if (pid < 0 && now >= not_before) {
      pid = start_child(service);
      not_before = now + kServicePause;
      if (pid < 0) log(LogLevel::error, "cannot fork: {}", errno_text(errno));
    }
    const int number = await_signal(pid < 0 ? kServicePause : kForever);
    if (number != 0 && number != SIGCHLD) break;
    int status = 0;
    if (!reap(pid, &status)) continue;
    log(LogLevel::error, "the agent ended ({}); it is started again", end_text(status));
    pid = -1;
  }
  log(LogLevel::info, "powering off");
  end_everybody(pid);
  sync_all();
  if (::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
    log(LogLevel::warning, "the root stays writable: {}", errno_text(errno));
  power_off();
}

void give_up(const Error& error) {
  log(LogLevel::error, "{}", error.message);
  log(LogLevel::error, "this machine cannot come up; powering off");
  power_off();
}

}  // namespace pinhole::sys
