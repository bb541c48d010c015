// SPDX-License-Identifier: Apache-2.0
// Runs a short program beside the event loop, for what may block for ever.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// Exit status 0 is success. Otherwise the error is the program's stdout (at most 1 KiB), or says
/// that it took longer than `limit`; it is killed then, and not waited for.
asio::awaitable<Result<void>> run_helper(std::vector<std::string> argv, std::string input,
                                         std::chrono::milliseconds limit);

/// A program's stdout, at most 4 KiB of it, whatever its exit status; empty when it cannot be run or takes longer.
asio::awaitable<std::string> output_of(std::vector<std::string> argv,
                                       std::chrono::milliseconds limit);

}  // namespace pinhole::agent
