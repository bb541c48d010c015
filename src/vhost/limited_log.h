// SPDX-License-Identifier: Apache-2.0
// Log lines that somebody hostile can cause.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "vsock/connection.h"
#include "vsock/token_bucket.h"

namespace pinhole::vhost {

/// So many lines at once, one a minute in the long run: a guest that breaks its rings again and
/// again for a day writes about 200 KB.
inline constexpr std::uint32_t kLogBurst = 10;
inline constexpr std::chrono::seconds kLogInterval{60};

/// Everything that the guest or a front-end can make this program say goes through the one instance
/// of its Device. What is too much is counted, and the count is a line of its own once there is
/// room for one: "32 more messages were dropped".
class LimitedLog {
 public:
  using Write = std::function<void(std::string_view)>;
  /// By default lines go to the log as warnings.
  explicit LimitedLog(Write write = {});

  void write(std::string_view text, vsock::TimePoint now);
  /// Tells of dropped lines when their time has come.
  void on_time(vsock::TimePoint now);
  [[nodiscard]] std::optional<vsock::TimePoint> next_deadline() const;

 private:
  void tell_dropped();

  Write write_;
  vsock::TokenBucket lines_{kLogBurst, kLogInterval};
  std::uint64_t dropped_ = 0;
};

}  // namespace pinhole::vhost
