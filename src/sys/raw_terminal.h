// SPDX-License-Identifier: Apache-2.0
// A terminal that passes every key on, and is itself again afterwards, however its user ended.
#pragma once

#include <optional>

#include <sys/types.h>
#include <termios.h>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// Rows and columns; nothing where `fd` is no terminal or does not know.
struct TerminalSize {
  unsigned short rows = 0;
  unsigned short columns = 0;
};
std::optional<TerminalSize> terminal_size(int fd);

/// While one lives, the terminal is raw (cfmakeraw(3)). A small process of its own waits beside: when
/// ours is killed, so that no destructor runs, it makes the terminal sane again.
class RawTerminal {
 public:
  /// `fd` is borrowed. Call it before system calls are given up (sys/seccomp.h): afterwards it needs
  /// ioctl(TCSETSW), write and close.
  static Result<RawTerminal> enter(int fd);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();

 private:
  RawTerminal(int fd, const termios& before, Fd guardian);
  int fd_ = -1;
  termios before_{};
  Fd guardian_;  // a byte: all is well; its end alone: we are dead
};

}  // namespace pinhole::sys
