// SPDX-License-Identifier: Apache-2.0
// What happens to the whole host while a VM runs: it sleeps, its clock is set, its memory runs out.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pinhole::supervisor {

/// One look. clock_gettime(2): all three go on while the host is awake, `monotonic` stands still while it sleeps, and
/// `real` is what somebody may set.
struct HostReading {
  std::chrono::nanoseconds real{};
  std::chrono::nanoseconds boot{};
  std::chrono::nanoseconds monotonic{};
  std::optional<std::uint64_t> memory_available;  ///< bytes; MemAvailable of /proc/meminfo
  /// Processes that the kernel has killed for want of memory since it booted: oom_kill of /proc/vmstat, in all cgroups.
  std::optional<std::uint64_t> oom_kills;
};
HostReading read_host();

/// The two files' content, as the kernel writes it; nothing where the line is missing or no number.
std::optional<std::uint64_t> parse_memory_available(std::string_view meminfo);
std::optional<std::uint64_t> parse_oom_kills(std::string_view vmstat);

/// Pure: compares each look with the one before.
class HostWatch {
 public:
  /// A clock that is disciplined moves by less.
  static constexpr std::chrono::seconds kJump{2};
  static constexpr std::uint64_t kLowMemory = std::uint64_t{128} << 20;
  static constexpr std::uint64_t kEnoughMemory = std::uint64_t{256} << 20;

  struct Seen {
    std::vector<std::string> lines = {};  ///< for status.log
    std::vector<std::string> memory_lines =
        {};                     ///< too; a guest can cause them, so: as the guest's own
    bool time_changed = false;  ///< the guest's clock is behind, or off
  };
  Seen look(const HostReading& now);

  /// For as long as it lasts: what `status` shows; empty where nothing is wrong.
  [[nodiscard]] const std::string& note() const { return note_; }
  /// Whether the kernel has killed somebody for want of memory in the last few seconds.
  [[nodiscard]] bool out_of_memory_lately(const HostReading& now) const;

 private:
  static constexpr std::chrono::seconds kLately{5};
  [[nodiscard]] bool killed_since_last(const HostReading& now) const;

  std::optional<HostReading> last_;
  std::optional<std::chrono::nanoseconds> killed_at_;  // by `boot`
  std::string note_;
};

}  // namespace pinhole::supervisor
