// SPDX-License-Identifier: Apache-2.0
// The parts of a policy file beside the rules, each read by one function.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "policy/layer.h"
#include "yaml/mapping_reader.h"
#include "yaml/yaml.h"

namespace pinhole::policy {

constexpr std::uint64_t kMostConcurrent = 65536;

/// Letters, digits and "_", not a digit first, at most 64.
bool is_secret_name(std::string_view text);

/// The key "rate" of limits; what is wrong, the reader remembers.
std::optional<Rate> read_rate(const yaml::Document& document, yaml::MappingReader& reader);

Result<std::vector<Internal>> read_internal(const yaml::Document& document,
                                            std::span<const yaml::Node> items);
Result<std::vector<HostCa>> read_ca(const yaml::Document& document, const yaml::Node& node);
Result<GivenLimits> read_limits(const yaml::Document& document, const yaml::Node& node);
Result<GivenAudit> read_audit(const yaml::Document& document, const yaml::Node& node);
Result<std::vector<SecretSpec>> read_secrets(const yaml::Document& document,
                                             const yaml::Node& node);
/// One name server or a list of them: an address, with a port where it is not 53.
Result<std::vector<http::Endpoint>> read_resolver(const yaml::Document& document,
                                                  const yaml::Node& node);
Result<UpstreamProxy> read_upstream_proxy(const yaml::Document& document, const yaml::Node& node);

}  // namespace pinhole::policy
