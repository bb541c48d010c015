// SPDX-License-Identifier: Apache-2.0
// The host part of a rule: a name or an IP address | *.name | *
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "http/host.h"

namespace pinhole::policy {

struct HostPattern {
  enum class Kind {
    exact,  ///< `name` alone
    below,  ///< every name that ends in "." + `name`
    any,    ///< "*"
  };
  Kind kind = Kind::exact;
  std::string name;

  [[nodiscard]] std::string text() const;
  /// "*" is every host here; what else it may mean is the caller's.
  [[nodiscard]] bool matches(const http::Host& host) const;
  bool operator==(const HostPattern&) const = default;
};

struct PatternAndPort {
  HostPattern host;
  std::optional<std::uint16_t> port;
};

/// What is wrong and where, as an offset into the text.
struct PatternFault {
  std::size_t offset = 0;
  std::string message;
  std::string suggestion;
};

/// host[:port], the host normalised as http::normalise_host() does.
std::expected<PatternAndPort, PatternFault> parse_host_pattern(std::string_view text);

}  // namespace pinhole::policy
