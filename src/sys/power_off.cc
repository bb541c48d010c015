// SPDX-License-Identifier: Apache-2.0
#include "sys/power_off.h"

#include <signal.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <cerrno>

#include "sys/first_process.h"

namespace pinhole::sys {

Result<void> begin_power_off() {
  // systemd(1), SIGNALS: SIGRTMIN+4 starts poweroff.target. sd_booted(3) explains the folder.
  if (::access("/run/systemd/system", F_OK) == 0 || ::access(kFirstProcessMark, F_OK) == 0) {
    if (::kill(1, SIGRTMIN + 4) == 0) return {};
    return fail("cannot ask the first process to power off: {}", errno_text(errno));
  }
  ::sync();
  ::reboot(RB_POWER_OFF);
  return fail("cannot power off: {}", errno_text(errno));
}

}  // namespace pinhole::sys
