// SPDX-License-Identifier: Apache-2.0
#include "vhost/limited_log.h"

#include <utility>

#include "base/log.h"

namespace pinhole::vhost {

LimitedLog::LimitedLog(Write write) : write_(std::move(write)) {
  if (!write_) write_ = [](std::string_view text) { log(LogLevel::warning, "{}", text); };
}

void LimitedLog::write(std::string_view text, vsock::TimePoint now) {
  if (!lines_.take(now)) {
    ++dropped_;
    return;
  }
  tell_dropped();
  write_(text);
}

void LimitedLog::on_time(vsock::TimePoint now) {
  if (dropped_ > 0 && lines_.take(now)) tell_dropped();
}

std::optional<vsock::TimePoint> LimitedLog::next_deadline() const {
  if (dropped_ == 0) return std::nullopt;
  return lines_.next();
}

void LimitedLog::tell_dropped() {
  if (dropped_ == 0) return;
  const std::uint64_t count = std::exchange(dropped_, 0);
  write_(fmt::format("{} more message{} dropped", count, count == 1 ? " was" : "s were"));
}

}  // namespace pinhole::vhost
