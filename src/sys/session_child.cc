// SPDX-License-Identifier: Apache-2.0
#include "sys/session_child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/strings.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

enum class Step { setup, limit, user, working_dir, program };

/// Sent through a close-on-exec pipe when the child cannot become the program.
struct Failure {
  Step step = Step::setup;
  int error = 0;
  std::size_t which = 0;  // of the limits
};

/// All that the child needs, made before fork: it must not allocate after.
struct Prepared {
  std::vector<std::string> candidates;  // full paths to try, in order
  std::vector<char*> argv;
  std::vector<char*> env;
  std::vector<gid_t> groups;
};

/// What raise_descriptor_limit() found.
std::optional<rlimit> first_descriptor_limit;

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> candidates(const SessionCommand& command) {
  const std::string& name = command.argv.front();
  if (name.find('/') != std::string::npos) return {name};
  std::string_view path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string_view entry : command.env) {
    if (entry.starts_with("PATH=")) path = entry.substr(5);
  }
  std::vector<std::string> result;
  for (const std::string_view folder : split(path, ':')) {
    if (folder.starts_with('/')) result.push_back(std::string(folder) + "/" + name);
  }
  return result;
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) {
    if (number != SIGKILL && number != SIGSTOP) ::signal(number, SIG_DFL);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool become_user(const SessionCommand& command, const Prepared& prepared) {
  if (command.gid) {
    const gid_t gid = *command.gid;
    // An ordinary user (a test) may not set groups; setresgid then decides.
    if (::geteuid() == 0 && ::setgroups(prepared.groups.size(), prepared.groups.data()) != 0)
      return false;
    if (::setresgid(gid, gid, gid) != 0) return false;
  }
  return !command.uid || ::setresuid(*command.uid, *command.uid, *command.uid) == 0;
}

bool move_streams(const std::array<int, 3>& streams) {
  // The ends were born above 2: descriptors 0, 1 and 2 are always open here.
  return ::dup2(streams[0], 0) == 0 && ::dup2(streams[1], 1) == 1 && ::dup2(streams[2], 2) == 2;
}

/// The first limit that could not be set; all of them: none.
std::optional<std::size_t> set_limits(const std::vector<ResourceLimit>& limits) {
  if (first_descriptor_limit) ::setrlimit(RLIMIT_NOFILE, &*first_descriptor_limit);
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const rlimit both{.rlim_cur = limits[i].value, .rlim_max = limits[i].value};
    if (::setrlimit(static_cast<__rlimit_resource>(limits[i].resource), &both) != 0) return i;
  }
  return std::nullopt;
}

/// When memory runs out the agent is the last to be chosen (proc(5), oom_score_adj); what it starts is not.
void be_ordinary_when_memory_runs_out() {
  const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t n = ::write(file, "0", 1);
  ::close(file);
}

/// ENOENT in one folder and EACCES in another is EACCES, as in a shell.
int execute(const Prepared& prepared) {
  int error = ENOENT;
  for (const std::string& path : prepared.candidates) {
    ::execve(path.c_str(), prepared.argv.data(), prepared.env.data());
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (errno != EACCES) break;
  }
  return error;
}

[[noreturn]] void become_child(const SessionCommand& command, const Prepared& prepared,
                               const std::array<int, 3>& streams, int report) {
  const auto give_up = [&](Step step, int error, std::size_t which = 0) {
    const Failure failure{.step = step, .error = error, .which = which};
    [[maybe_unused]] const auto written = ::write(report, &failure, sizeof(failure));
    ::_exit(127);
  };
  reset_signals();
  ::umask(022);
  // Asio's sockets are not all born close-on-exec; an inherited one would keep a connection open.
  ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  if (::setsid() < 0 || !move_streams(streams)) give_up(Step::setup, errno);
  if (command.terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) give_up(Step::setup, errno);
  be_ordinary_when_memory_runs_out();
  // While we may still raise them.
  if (const auto failed = set_limits(command.limits)) give_up(Step::limit, errno, *failed);
  if (!become_user(command, prepared)) give_up(Step::user, errno);
  if (::chdir(command.cwd.c_str()) != 0) give_up(Step::working_dir, errno);
  give_up(Step::program, execute(prepared));
  ::_exit(127);
}

Error error_of(const SessionCommand& command, const Failure& failure) {
  const std::string why = errno_text(failure.error);
  switch (failure.step) {
    case Step::setup:
      return {.message = "cannot set a new process up: " + why, .code = "failed"};
    case Step::limit: {
      const ResourceLimit& limit = command.limits.at(failure.which);
      return {
          .message = fmt::format("cannot set the limit {} to {}: {}", limit.name, limit.value, why),
          .code = "failed"};
    }
    case Step::user:
      return {.message =
                  fmt::format("cannot become user {}: {}", command.uid.value_or(::getuid()), why),
              .code = "failed"};
    case Step::working_dir:
      return {.message = fmt::format("cannot enter {}: {}", command.cwd, why), .code = "failed"};
    case Step::program:
      break;
  }
  const bool missing = failure.error == ENOENT || failure.error == ENOTDIR;
  return {.message = fmt::format("{}: {}", command.argv.front(), missing ? "not found" : why),
          .code = missing ? "not_found" : "not_executable"};
}

Error no_terminal() {
  return {.message = "cannot open a terminal: " + errno_text(errno), .code = "failed"};
}

/// pts(4) by its master (TIOCGPTPEER), so that it is the right one whatever is mounted at /dev/pts.
Result<std::pair<Fd, Fd>> open_terminal(const SessionCommand& command) {
  Fd master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master) return fail(no_terminal());
  int locked = 0;
  if (::ioctl(master.get(), TIOCSPTLCK, &locked) != 0) return fail(no_terminal());
  Fd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return fail(no_terminal());
  const winsize size{.ws_row = command.terminal->rows, .ws_col = command.terminal->columns};
  ::ioctl(master.get(), TIOCSWINSZ, &size);
  // As login(1) leaves it: its user's, and `tty`, which devpts has given it, may write(1) to it.
  constexpr gid_t kUnchanged = static_cast<gid_t>(-1);
  if (command.uid &&
      (::fchown(slave.get(), *command.uid, kUnchanged) != 0 || ::fchmod(slave.get(), 0620) != 0)) {
    return fail(no_terminal());
  }
  return std::pair(std::move(master), std::move(slave));
}

/// Their ends of the streams; ours are in the child's object already.
struct Streams {
  Fd input;
  Fd output;
  Fd errors;
};

Result<Streams> open_streams(const SessionCommand& command, SessionChild& child) {
  Streams theirs;
  if (command.terminal) {
    PINHOLE_TRY(auto terminal, open_terminal(command));
    child.input = std::move(terminal.first);
    child.output = Fd(::fcntl(child.input.get(), F_DUPFD_CLOEXEC, 0));
    theirs.input = Fd(::fcntl(terminal.second.get(), F_DUPFD_CLOEXEC, 0));
    child.terminal = std::move(terminal.second);
    if (!child.output || !theirs.input) return fail(no_terminal());
    return theirs;
  }
  PINHOLE_TRY(auto input, make_pipe());
  PINHOLE_TRY(auto output, make_pipe());
  PINHOLE_TRY(auto errors, make_pipe());
  child.input = std::move(input.second);
  child.output = std::move(output.first);
  child.errors = std::move(errors.first);
  theirs = {.input = std::move(input.first),
            .output = std::move(output.second),
            .errors = std::move(errors.second)};
  return theirs;
}

/// fork(2), into a cgroup where one is named. The child may only do what is right after fork in a
/// program with threads.
pid_t fork_into(int cgroup, int& pidfd) {
  clone_args args{};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(cgroup);
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
}

constexpr int kKillPasses = 4;            // against processes that are born meanwhile
constexpr std::size_t kProcesses = 8192;  // looked at in one pass

/// Whether one was found.
bool kill_processes_of(pid_t session) {
  std::error_code error;
  bool found = false;
  std::size_t seen = 0;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const auto pid = parse_u64(entry->path().filename().string());
    if (!pid) continue;
    if (++seen > kProcesses) break;
    constexpr std::uint64_t kStatBytes = 4096;
    const auto stat = read_file(entry->path() / "stat", kStatBytes);
    if (!stat || session_of_stat(*stat) != session) continue;
    // Between the two a number may become another's; only one of the guest's own root could be hit,
    // and numbers are not given out again that soon.
    ::kill(static_cast<pid_t>(*pid), SIGKILL);
    found = found || *pid != static_cast<std::uint64_t>(session);
  }
  return found;
}

}  // namespace

std::optional<std::int64_t> session_of_stat(std::string_view stat) {
  // proc(5): pid (comm) state ppid pgrp session …; comm may hold anything, so from its end.
  const std::size_t end = stat.rfind(')');
  if (end == std::string_view::npos) return std::nullopt;
  const auto fields = split(stat.substr(end + 1), ' ');
  constexpr std::size_t kSession = 4;  // counted from the empty field before the state
  if (fields.size() <= kSession) return std::nullopt;
  const auto session = parse_u64(fields[kSession]);
  return session ? std::optional(static_cast<std::int64_t>(*session)) : std::nullopt;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (first_descriptor_limit || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  first_descriptor_limit = limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

SessionChild::SessionChild(SessionChild&& other) noexcept
    : input(std::move(other.input)),
      output(std::move(other.output)),
      errors(std::move(other.errors)),
      terminal(std::move(other.terminal)),
      report(std::move(other.report)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)) {}

SessionChild::~SessionChild() {
  signal_group(SIGKILL);
  reap();
}

void SessionChild::signal_group(int number) {
  if (pid_ > 0) ::kill(-pid_, number);
}

void SessionChild::kill_session() {
  signal_group(SIGKILL);
  for (int pass = 0; pid_ > 0 && pass < kKillPasses && kill_processes_of(pid_); ++pass) continue;
}

std::optional<SessionEnd> SessionChild::reap() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  if (WIFSIGNALED(status)) return SessionEnd{.signal = WTERMSIG(status)};
  return SessionEnd{.exit = WEXITSTATUS(status)};
}

Result<void> SessionChild::started(const SessionCommand& command) {
  Failure failure{};
  ssize_t n = 0;
  do {
    n = ::read(report.get(), &failure, sizeof(failure));
  } while (n < 0 && errno == EINTR);
  const int error = errno;
  report.reset();
  if (n == 0) return {};  // closed by execve
  if (n == static_cast<ssize_t>(sizeof(failure))) return fail(error_of(command, failure));
  const std::string why = n < 0 ? errno_text(error) : "it said too little";
  return fail(Error{.message = "how a new process fares is not known: " + why, .code = "failed"});
}

Result<SessionChild> spawn_session(const SessionCommand& command) {
  Prepared prepared{.candidates = candidates(command),
                    .argv = pointers(command.argv),
                    .env = pointers(command.env),
                    .groups = {command.groups.begin(), command.groups.end()}};
  if (command.gid && std::ranges::find(prepared.groups, *command.gid) == prepared.groups.end())
    prepared.groups.push_back(*command.gid);
  SessionChild child;
  PINHOLE_TRY(const Streams theirs, open_streams(command, child));
  PINHOLE_TRY(auto report, make_pipe());
  const int output = command.terminal ? theirs.input.get() : theirs.output.get();
  const int errors = command.terminal ? theirs.input.get() : theirs.errors.get();
  int pidfd = -1;
  pid_t pid = fork_into(command.cgroup, pidfd);
  // A cgroup that somebody has removed meanwhile is no reason not to run it.
  if (pid < 0 && command.cgroup >= 0) pid = fork_into(-1, pidfd);
  if (pid < 0) {
    return fail(Error{.message = "cannot start a process: " + errno_text(errno), .code = "failed"});
  }
  if (pid == 0) {
    become_child(command, prepared, {theirs.input.get(), output, errors}, report.second.get());
  }
  child.pid_ = pid;
  child.pidfd_ = Fd(pidfd);
  child.report = std::move(report.first);
  return child;
}

}  // namespace pinhole::sys
