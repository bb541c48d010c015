// SPDX-License-Identifier: Apache-2.0
// A line for whoever started us, which is a pipe whose reader may have stopped reading.
#pragma once

#include <chrono>
#include <string_view>

namespace pinhole::supervisor {

/// To a non-blocking pipe. A line of at most PIPE_BUF bytes goes as a whole or, where the pipe is full, not at all. A longer
/// one (a failure with its evidence) is waited with, for as long as `limit`. False: it was torn, and nothing may follow it.
bool write_report_line(int fd, std::string_view line, std::chrono::milliseconds limit);

}  // namespace pinhole::supervisor
