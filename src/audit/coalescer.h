// SPDX-License-Identifier: Apache-2.0
// Keeps a guest that repeats one refused request from filling the log: the first few of a kind are
// written in full, the rest of a window become one record with a count. Pure: time comes from the
// caller.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pinhole::audit {

/// What two denials must share to be "the same".
struct Denial {
  std::string method;
  std::string url;  // redacted
  std::string rule;
  std::string code;
};

struct CoalescedDenials {
  Denial denial;
  std::uint64_t count = 0;  // denials that have no record of their own
};

class DenialCoalescer {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// A kill of the process loses the counts of at most this long.
  static constexpr std::chrono::seconds kWindow{10};
  static constexpr std::uint64_t kInFull = 20;  // written one by one in each window
  static constexpr std::size_t kKinds = 256;    // different denials remembered; the oldest leaves

  /// True: write this denial in full. False: it is counted. Entries that this call pushed out and
  /// that hold a count are appended to `due`.
  bool admit(const Denial& denial, Time now, std::vector<CoalescedDenials>& due);
  /// Entries whose window is over.
  std::vector<CoalescedDenials> take_expired(Time now);
  /// Everything, for an orderly end.
  std::vector<CoalescedDenials> take_all();

 private:
  struct Entry {
    std::string key;
    Denial denial;
    Time started;
    std::uint64_t seen = 0;
  };
  void drop_oldest(std::vector<CoalescedDenials>& due);

  std::list<Entry> entries_;                                                 // oldest window first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // views into entries_
};

}  // namespace pinhole::audit
