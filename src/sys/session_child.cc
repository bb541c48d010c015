// SPDX-License-Identifier: Apache-2.0
#include "sys/session_child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/strings.h"
#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

enum class Step { setup, user, working_dir, program };

/// Sent through a close-on-exec pipe when the child cannot become the program.
struct Failure {
  Step step = Step::setup;
  int error = 0;
};

/// All that the child needs, made before fork: it must not allocate after.
struct Prepared {
  std::vector<std::string> candidates;  // full paths to try, in order
  std::vector<char*> argv;
  std::vector<char*> env;
};

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

bool become_user(const SessionCommand& command) {
  if (command.gid) {
    const gid_t gid = *command.gid;
    // An ordinary user (a test) may not set groups; setresgid then decides.
    if (::geteuid() == 0 && ::setgroups(1, &gid) != 0) return false;
    if (::setresgid(gid, gid, gid) != 0) return false;
  }
  return !command.uid || ::setresuid(*command.uid, *command.uid, *command.uid) == 0;
}

bool move_streams(int input, int output, int errors) {
  // The pipe ends were born above 2: descriptors 0, 1 and 2 are always open here.
  return ::dup2(input, 0) == 0 && ::dup2(output, 1) == 1 && ::dup2(errors, 2) == 2;
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
  const auto give_up = [&](Step step, int error) {
    const Failure failure{.step = step, .error = error};
    [[maybe_unused]] const auto written = ::write(report, &failure, sizeof(failure));
    ::_exit(127);
  };
  reset_signals();
  ::umask(022);
  // Asio's sockets are not all born close-on-exec; an inherited one would keep a connection open.
  ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  if (::setsid() < 0 || !move_streams(streams[0], streams[1], streams[2])) {
    give_up(Step::setup, errno);
  }
  if (!become_user(command)) give_up(Step::user, errno);
  if (::chdir(command.cwd.c_str()) != 0) give_up(Step::working_dir, errno);
  give_up(Step::program, execute(prepared));
  ::_exit(127);
}

Error error_of(const SessionCommand& command, const Failure& failure) {
  const std::string why = errno_text(failure.error);
  switch (failure.step) {
    case Step::setup:
      return {.message = "cannot set a new process up: " + why, .code = "failed"};
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

}  // namespace

SessionChild::SessionChild(SessionChild&& other) noexcept
    : input(std::move(other.input)),
      output(std::move(other.output)),
      errors(std::move(other.errors)),
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
  report.reset();
  if (n == 0) return {};  // closed by execve
  if (n == static_cast<ssize_t>(sizeof(failure))) return fail(error_of(command, failure));
  return fail(Error{.message = "a process died before it became a program", .code = "failed"});
}

Result<SessionChild> spawn_session(const SessionCommand& command) {
  const Prepared prepared{.candidates = candidates(command),
                          .argv = pointers(command.argv),
                          .env = pointers(command.env)};
  PINHOLE_TRY(auto input, make_pipe());
  PINHOLE_TRY(auto output, make_pipe());
  PINHOLE_TRY(auto errors, make_pipe());
  PINHOLE_TRY(auto report, make_pipe());
  const pid_t pid = ::fork();
  if (pid < 0) {
    return fail(Error{.message = "cannot start a process: " + errno_text(errno), .code = "failed"});
  }
  if (pid == 0) {
    become_child(command, prepared, {input.first.get(), output.second.get(), errors.second.get()},
                 report.second.get());
  }
  SessionChild child(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  if (!child.pidfd_) {
    return fail(Error{.message = "cannot watch a process: " + errno_text(errno), .code = "failed"});
  }
  child.input = std::move(input.second);
  child.output = std::move(output.first);
  child.errors = std::move(errors.first);
  child.report = std::move(report.first);
  return child;
}

}  // namespace pinhole::sys
