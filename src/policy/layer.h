// SPDX-License-Identifier: Apache-2.0
// One policy file as values, before layers are put together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "http/address.h"
#include "http/host.h"
#include "policy/policy.h"
#include "policy/rule.h"

namespace pinhole::policy {

/// A line of `internal:`: `registry.corp:443 -> 10.1.2.3:443`.
struct Internal {
  http::Host host;
  std::uint16_t port = 0;
  http::Endpoint address;
};

/// A line of `ca:`: `origin.test: /path/to/ca.pem`.
struct HostCa {
  http::Host host;
  std::string file;
};

/// What a file says about limits; nothing where it says nothing.
struct GivenLimits {
  std::optional<std::uint64_t> connections;
  std::optional<std::uint64_t> request_body;
  std::optional<std::uint64_t> response_body;
  std::optional<std::uint64_t> header_bytes;
  std::optional<std::chrono::milliseconds> idle;
  std::optional<Rate> rate;
  std::optional<std::uint64_t> concurrent;
};

struct GivenAudit {
  AuditSettings settings;
  std::vector<std::string> redact;  ///< lower case
};

struct LayerContent {
  std::vector<std::string> presets;  ///< of `use:`
  std::vector<Rule> allow;
  std::vector<Rule> deny;
  std::optional<std::vector<Rule>> ceiling;
  std::string ceiling_id;  ///< "policy.yaml:7"
  std::vector<Internal> internal;
  std::vector<HostCa> ca;
  GivenLimits limits;
  GivenAudit audit;
  std::vector<SecretSpec> secrets;
  std::vector<http::Endpoint> resolver;
  std::optional<UpstreamProxy> upstream_proxy;
};

/// Reads and checks one file; rules that can never be reached are errors here.
Result<LayerContent> read_layer(const Layer& layer);

/// The same text for two files that say the same, whatever their layout and comments.
std::string canonical_text(const Layer& layer);

}  // namespace pinhole::policy
