// SPDX-License-Identifier: Apache-2.0
// Limits as values: of one rule, and of the whole door.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinhole::policy {

/// "120/min": `count` exchanges may begin in `per`.
struct Rate {
  std::uint64_t count = 0;
  std::chrono::seconds per{1};
  bool operator==(const Rate&) const = default;
};

/// "10/s", "120/min", "1000/h" or "5000/day"; at least 1.
std::optional<Rate> parse_rate(std::string_view text);
std::string to_string(const Rate& rate);
/// The one that lets less through; the first where they are equal.
Rate slower(const Rate& a, const Rate& b);

/// Of one exchange, in bytes.
struct BodyLimits {
  std::uint64_t request_body = std::uint64_t{64} << 20;
  std::uint64_t response_body = std::uint64_t{2} << 30;
};

/// What the rule that allows a request sets. `rate` and `concurrent` count all exchanges under the
/// same rule id together.
struct RuleLimits : BodyLimits {
  std::optional<Rate> rate;
  std::optional<std::uint64_t> concurrent;
};

/// Of the whole door.
struct Limits {
  std::uint64_t connections = 256;
  std::uint64_t header_bytes = 64 << 10;
  std::chrono::milliseconds idle = std::chrono::seconds(120);
  BodyLimits bodies;
  std::optional<Rate> rate;                 ///< of exchanges, all rules together
  std::optional<std::uint64_t> concurrent;  ///< exchanges at a time, all rules together
};

}  // namespace pinhole::policy
