// SPDX-License-Identifier: Apache-2.0
// The command line of pinhole-pep. Pure.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "http/address.h"
#include "policy/policy.h"

namespace pinhole::pep {

struct PolicyFile {
  policy::LayerKind kind = policy::LayerKind::user;
  std::filesystem::path path;
};

struct Options {
  std::vector<PolicyFile> policies;
  /// Top-level keys of the policy files that belong to another reader.
  std::vector<std::string> foreign_keys;
  std::filesystem::path listen_path;         // unix:PATH
  std::optional<int> listen_fd;              // fd:N
  std::optional<http::Endpoint> listen_tcp;  // tcp:ADDRESS:PORT, loopback; port 0 is any free one
  std::filesystem::path token_file;          // pep/proxy_auth.h; there with listen_tcp
  std::filesystem::path audit;
  std::string vm;
  std::string boot;
  std::string image;
  std::optional<int> control_fd;
  std::filesystem::path authority;         // folder: see pep/credentials.h
  std::filesystem::path create_authority;  // the same: make it for `vm`, and that is all
  std::filesystem::path placeholders;      // pep/standalone.h; only with authority
  bool canary = false;
  std::filesystem::path resolv_conf = "/etc/resolv.conf";
  LogLevel log_level = LogLevel::info;
  bool help = false;
};

/// Errors have exit status 2.
Result<Options> parse_options(std::span<const std::string_view> arguments);
extern const std::string_view kUsage;

}  // namespace pinhole::pep
