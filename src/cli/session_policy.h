// SPDX-License-Identifier: Apache-2.0
// A policy of the session's layer out of flags: --use, --allow and --secret of `pinhole run`.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace pinhole::cli {

struct SessionWords {
  std::vector<std::string> use = {};     // presets
  std::vector<std::string> allow = {};   // targets, as in a policy's `allow:`
  std::vector<std::string> secret = {};  // NAME@host[,host…][=header]
};

/// The text of a policy file, whose n-th rule is the n-th flag; empty where no flag says anything. A
/// secret comes from the environment variable of its name, and its hosts are allowed. An error is of a
/// --secret; what the others say is the policy's parser's to judge.
Result<std::string> session_policy(const SessionWords& words);

}  // namespace pinhole::cli
