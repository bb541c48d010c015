// SPDX-License-Identifier: Apache-2.0
// Ctrl-C, SIGTERM and SIGHUP as something to wait for.
#pragma once

#include <signal.h>

#include "base/fd.h"

namespace pinhole::cli {

/// While one lives, those signals do not end the process: fd() becomes readable instead, and whoever waits cleans up.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  sigset_t before_{};
  Fd fd_;
};

}  // namespace pinhole::cli
