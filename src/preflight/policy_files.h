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
#include "policy/policy.h"

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
  std::vector<PolicyFile> session_texts = {};           // of flags, after the files
  bool only_look = false;  // a project's file counts though it is not trusted: nothing is started
};

struct Policies {
  std::vector<PolicyFile> files;
  config::VmRequest project_request;  // the `vm:` part of the project's file
  std::string hash;
  std::vector<std::string> warnings;
  std::vector<std::string> ca_files;  // that `ca:` names
  policy::Policy policy;
  bool project_is_trusted = true;  // false only where `only_look`
};

/// A file as a layer; its errors point into it.
Result<policy::Layer> parse_layer(const PolicyFile& file);

/// Reads, checks trust, compiles. A project file that is not trusted is an error that shows what it
/// wants and what to do.
Result<Policies> gather_policies(const config::Paths& paths, const PolicySources& sources);

}  // namespace pinhole::preflight
