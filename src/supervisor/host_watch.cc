// SPDX-License-Identifier: Apache-2.0
#include "supervisor/host_watch.h"

#include <time.h>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

nanoseconds clock_now(clockid_t id) {
  timespec time{};
  ::clock_gettime(id, &time);
  return seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

/// The number after `name` at the beginning of a line.
std::optional<std::uint64_t> number_after(std::string_view text, std::string_view name) {
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with(name)) continue;
    const std::string_view rest = trim(line.substr(name.size()));
    return parse_u64(rest.substr(0, rest.find(' ')));
  }
  return std::nullopt;
}

std::optional<std::uint64_t> from_file(const char* path,
                                       std::optional<std::uint64_t> (*parse)(std::string_view)) {
  constexpr std::size_t kMost = 64 << 10;
  const auto text = sys::read_file(path, kMost);
  return text ? parse(*text) : std::nullopt;
}

std::string text_of(nanoseconds time) {
  const auto whole = std::chrono::round<seconds>(time).count();
  if (whole < 120) return fmt::format("{} s", whole);
  if (whole < 7200) return fmt::format("{} min", whole / 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

}  // namespace

std::optional<std::uint64_t> parse_memory_available(std::string_view meminfo) {
  constexpr std::uint64_t kMostKib = std::uint64_t{1} << 50;
  const auto kib = number_after(meminfo, "MemAvailable:");
  if (!kib || *kib > kMostKib) return std::nullopt;
  return *kib << 10;
}

std::optional<std::uint64_t> parse_oom_kills(std::string_view vmstat) {
  return number_after(vmstat, "oom_kill ");
}

HostReading read_host() {
  return {.real = clock_now(CLOCK_REALTIME),
          .boot = clock_now(CLOCK_BOOTTIME),
          .monotonic = clock_now(CLOCK_MONOTONIC),
          .memory_available = from_file("/proc/meminfo", parse_memory_available),
          .oom_kills = from_file("/proc/vmstat", parse_oom_kills)};
}

HostWatch::Seen HostWatch::look(const HostReading& now) {
  Seen seen;
  if (last_) {
    const nanoseconds slept = (now.boot - last_->boot) - (now.monotonic - last_->monotonic);
    const nanoseconds jumped = (now.real - last_->real) - (now.boot - last_->boot);
    if (slept >= kJump) seen.lines.push_back(fmt::format("the host slept for {}", text_of(slept)));
    if (jumped >= kJump || jumped <= -kJump) {
      seen.lines.push_back(fmt::format("the host's clock was set {} by {}",
                                       jumped.count() > 0 ? "forward" : "back",
                                       text_of(std::chrono::abs(jumped))));
    }
    seen.time_changed = !seen.lines.empty();
    if (killed_since_last(now)) {
      seen.memory_lines.emplace_back("the host's kernel has killed a process for want of memory");
      killed_at_ = now.boot;
    }
  }
  const auto available = now.memory_available;
  if (available && note_.empty() && *available < kLowMemory) {
    seen.memory_lines.push_back(
        fmt::format("the host is short of memory: {} are left", format_size(*available)));
    note_ = "the host is short of memory; its kernel may kill processes of this VM";
  }
  if (available && !note_.empty() && *available >= kEnoughMemory) {
    seen.memory_lines.emplace_back("the host has memory again");
    note_.clear();
  }
  last_ = now;
  return seen;
}

bool HostWatch::out_of_memory_lately(const HostReading& now) const {
  return killed_since_last(now) || (killed_at_ && now.boot - *killed_at_ < kLately);
}

bool HostWatch::killed_since_last(const HostReading& now) const {
  return last_ && last_->oom_kills && now.oom_kills && *now.oom_kills > *last_->oom_kills;
}

}  // namespace pinhole::supervisor
