// SPDX-License-Identifier: Apache-2.0
// `pinhole-agent fetch`: a URL through the door, for people, scripts and cloud-init's runcmd.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/fetch.h"
#include "base/error.h"

namespace pinhole::agent {

struct FetchCommand {
  FetchRequest request;
  std::optional<std::string> output = {};  // "-" is stdout
};

/// `door` is where the door is unless --door says so. Opens the body's file. Errors have exit
/// status 2 or 26.
Result<FetchCommand> parse_fetch(const std::vector<std::string>& args, const Endpoint& door);

/// Prints `status=… …` (on stderr when the body goes to stdout) and returns the exit status: 0 for
/// 2xx, 3 for a redirect that was not followed, 22 for 4xx and 5xx and for a redirect that was
/// refused, else curl's numbers.
int run_fetch(FetchCommand command);

extern const char* const kFetchUsage;

}  // namespace pinhole::agent
