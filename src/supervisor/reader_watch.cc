// SPDX-License-Identifier: Apache-2.0
// Whoever waits for a VM that starts.
#include <fcntl.h>

#include "supervisor/supervisor.h"

namespace pinhole::supervisor {

/// When that command is gone (killed, say), nobody would give the VM its secrets, or learn what became of it: the start is given
/// up, as by Ctrl-C. One that is only stopped keeps its end of the pipe.
asio::awaitable<void> Supervisor::watch_reader() {
  if (!report_) co_return;
  asio::posix::stream_descriptor pipe(io_, ::fcntl(report_.get(), F_DUPFD_CLOEXEC, 0));
  co_await pipe.async_wait(asio::posix::stream_descriptor::wait_error, as_result);
  if (state_ != VmState::starting || ending_) co_return;
  stop_at_once_ = true;
  end({.reason = "the command that was starting it is gone"});
}

}  // namespace pinhole::supervisor
