// SPDX-License-Identifier: Apache-2.0
// What the commands about policies share: which files count, and requests as words.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "cli/app.h"
#include "cli/vm_access.h"
#include "policy/policy.h"
#include "preflight/policy_files.h"

namespace pinhole::cli {

/// As `up` has them.
struct PolicyWords {
  std::vector<std::string> policies;
  std::string config;
  std::string vm;  // a VM's own copies instead
  bool no_config = false;
  bool json = false;
};
void add_policy_words(CLI::App& command, PolicyWords& words);
/// For commands that ask what would be decided.
void add_vm_word(CLI::App& command, PolicyWords& words);

/// ./pinhole.yaml, or what --config names.
std::optional<std::filesystem::path> project_file(const std::string& config, bool no_config);

/// The layers that `up` would use. A project's file counts although it may not be trusted yet; then
/// a note says so.
Result<preflight::Policies> look_at_policies(const PolicyWords& words);

/// What a VM has: its own copies, which nobody else writes.
Result<policy::Policy> policy_of(const Vm& vm);

/// The VM's policy where one is named, else that of look_at_policies().
Result<policy::Policy> chosen_policy(const PolicyWords& words);

/// "GET", "https://host/path" or "CONNECT", "host:port". What does not parse is a mistake of the
/// words.
Result<policy::Request> read_request(const std::string& method, const std::string& target);

std::string_view to_string(policy::Action action);
std::string_view to_string(policy::Handling handling);

}  // namespace pinhole::cli
