// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupts.h"

#include <sys/signalfd.h>
#include <unistd.h>

namespace pinhole::cli {

Interrupts::Interrupts() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, &before_);
  fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

Interrupts::~Interrupts() {
  // What came meanwhile has been dealt with by whoever read or polled fd(); drained, it does not strike again.
  signalfd_siginfo info;
  while (::read(fd_.get(), &info, sizeof(info)) > 0) {
  }
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace pinhole::cli
