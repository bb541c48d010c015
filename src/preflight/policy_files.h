// SPDX-License-Identifier: Apache-2.0
// The files whose word counts for a VM (policy.md, "Whose word counts"), gathered and checked
// before anything starts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/paths.h"
#include "config/vm_file.h"

namespace pinhole::preflight {

struct PolicyFile {
  std::string layer;  // "organisation", "user", "project", "session"
  std::string name;   // as messages call it
  std::string text;
};

struct PolicySources {
  std::optional<std::filesystem::path> project;         // pinhole.yaml
  std::vector<std::filesystem::path> session;           // --policy FILE
  std::optional<std::string> trusted_hash;              // --trust=sha256:…
  std::optional<std::filesystem::path> workspace = {};  // --workspace DIR: the guest writes it
};

struct Policies {
  std::vector<PolicyFile> files;
  config::VmRequest project_request;  // the `vm:` part of the project's file
  std::string hash;
  std::vector<std::string> warnings;
  std::vector<std::string> ca_files;  // that `ca:` names
};

/// Reads, checks trust, compiles. A project file that is not trusted is an error that shows what to
/// do.
Result<Policies> gather_policies(const config::Paths& paths, const PolicySources& sources);

}  // namespace pinhole::preflight
