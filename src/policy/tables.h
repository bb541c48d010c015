// SPDX-License-Identifier: Apache-2.0
// What a policy is compiled to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/host_table.h"
#include "policy/layer.h"
#include "policy/policy.h"
#include "policy/rule.h"

namespace pinhole::policy {

/// What a layer lets the others allow.
struct Ceiling {
  std::string id;  ///< "/etc/pinhole/policy.yaml:7"
  std::vector<Rule> rules;
  HostTable table;
};

struct Tables {
  std::vector<std::string> presets;  ///< by name; their rules are among the others
  std::vector<Rule> allow_rules;
  std::vector<Rule> deny_rules;
  HostTable allow;
  HostTable deny;
  std::vector<Ceiling> ceilings;
  TextMap<http::Endpoint> internal;  ///< by "name:port"
  TextMap<std::string> ca;           ///< by host
  std::vector<Builtin> builtins;
  Limits limits;
  std::vector<SecretSpec> secrets;  ///< by name
  std::vector<http::Endpoint> resolver;
  std::optional<UpstreamProxy> upstream_proxy;
  AuditSettings audit;
  std::vector<std::string> redact;
  std::vector<std::uint16_t> ports;      ///< ascending; Policy::ports()
  std::vector<std::uint16_t> web_ports;  ///< ascending; Policy::is_web_port()
  std::vector<std::string> warnings;
  std::string hash;
};

/// The key of `internal`.
std::string internal_key(const http::Host& host, std::uint16_t port);

}  // namespace pinhole::policy
