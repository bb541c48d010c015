// SPDX-License-Identifier: Apache-2.0
#include "sys/raw_terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace pinhole::sys {
namespace {

/// The members that cfmakeraw() changes; others may be the terminal's own business.
bool same_mode(const termios& a, const termios& b) {
  return a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag && a.c_cflag == b.c_cflag &&
         a.c_lflag == b.c_lflag;
}

/// Waits for the other end of `pipe`. By then a shell may have taken the terminal back and set it as
/// it likes: only what is still as we left it is put right.
[[noreturn]] void guard(int pipe, int terminal, const termios& before, const termios& raw) {
  // A process in the background that changes its terminal is stopped, unless it ignores this.
  for (const int number : {SIGTTOU, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP})
    ::signal(number, SIG_IGN);
  char byte = 0;
  ssize_t n = 0;
  do {
    n = ::read(pipe, &byte, 1);
  } while (n < 0 && errno == EINTR);
  termios now{};
  if (n == 0 && ::tcgetattr(terminal, &now) == 0 && same_mode(now, raw))
    ::tcsetattr(terminal, TCSANOW, &before);
  ::_exit(0);
}

/// Between fork and its loop: of our descriptors it keeps two, so that nobody waits for it.
[[noreturn]] void become_guardian(int pipe, int terminal, const termios& before,
                                  const termios& raw) {
  constexpr int kPipe = 3, kTerminal = 4;
  const int terminal_copy = ::fcntl(terminal, F_DUPFD, kTerminal + 1);
  const int pipe_copy = ::fcntl(pipe, F_DUPFD, kTerminal + 1);
  ::dup2(pipe_copy, kPipe);
  ::dup2(terminal_copy, kTerminal);
  ::close_range(kTerminal + 1, ~0U, 0);
  for (const int standard : {0, 1, 2}) ::close(standard);
  guard(kPipe, kTerminal, before, raw);
}

}  // namespace

std::optional<TerminalSize> terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
    return std::nullopt;
  return TerminalSize{.rows = size.ws_row, .columns = size.ws_col};
}

Result<RawTerminal> RawTerminal::enter(int fd) {
  termios before{};
  if (::tcgetattr(fd, &before) != 0) return fail("not a terminal: {}", errno_text(errno));
  termios raw = before;
  ::cfmakeraw(&raw);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail("no pipe: {}", errno_text(errno));
  Fd guardians(ends[0]);
  Fd ours(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return fail("cannot start a process: {}", errno_text(errno));
  if (pid == 0) {
    // Its own child is adopted by init: nobody has to reap it.
    if (::fork() != 0) ::_exit(0);
    ours.reset();
    become_guardian(guardians.get(), fd, before, raw);
  }
  ::waitpid(pid, nullptr, 0);
  if (::tcsetattr(fd, TCSADRAIN, &raw) != 0)
    return fail("cannot make the terminal raw: {}", errno_text(errno));
  return RawTerminal(fd, before, std::move(ours));
}

RawTerminal::RawTerminal(int fd, const termios& before, Fd guardian)
    : fd_(fd), before_(before), guardian_(std::move(guardian)) {}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      before_(other.before_),
      guardian_(std::move(other.guardian_)) {}

RawTerminal::~RawTerminal() {
  if (fd_ < 0) return;
  ::tcsetattr(fd_, TCSADRAIN, &before_);
  constexpr char kAllIsWell = 1;
  [[maybe_unused]] const ssize_t told = ::write(guardian_.get(), &kAllIsWell, 1);
}

}  // namespace pinhole::sys
