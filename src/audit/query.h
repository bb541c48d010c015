// SPDX-License-Identifier: Apache-2.0
// Which records somebody wants to see, and what was refused. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/reader.h"
#include "base/error.h"

namespace pinhole::audit {

/// What is empty matches everything. A host is compared whole, or, as "*.example.com", by its end.
struct Filter {
  std::string host, code, rule, action, method;
  std::optional<std::chrono::system_clock::time_point> since, until;
  [[nodiscard]] bool matches(const Entry& entry) const;
};

/// "10m", "2h", "3d", "90s" before `now`, or a time: 2026-11-23T10:00[:SS][Z], in UTC.
Result<std::chrono::system_clock::time_point> parse_moment(
    std::string_view text, std::chrono::system_clock::time_point now);

/// One kind of refusal of a boot.
struct DeniedGroup {
  std::string host;
  std::string code;
  std::string rule;  // "default": no rule speaks
  std::uint64_t count = 0;
  std::string allow;  // the line for egress.allow, or what else would let it through; may be empty
  std::uint16_t port = 0;   // 443 also stands for 80, which the same rules are about; 0: unknown
  std::string flag = {};    // of `run`, fit for a shell: "--allow a.example"; may be empty
  std::string advice = {};  // what its records say beside that
  std::vector<std::string> programs = {};  // by the guest's word, the first few of them
};

/// Counts the refusals of one boot. Takes its records in any order.
class DenialSummary {
 public:
  /// Kinds that are told apart; what comes beyond them is one group with host "(others)".
  static constexpr std::size_t kMostGroups = 1000;
  static constexpr std::size_t kMostPrograms = 4;  // of a group
  void add(const Entry& entry);
  /// The most frequent ones first.
  [[nodiscard]] std::vector<DeniedGroup> groups() const;

 private:
  struct Key {
    std::string host, code, rule;
    std::uint16_t port = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Seen {
    std::uint64_t count = 0;
    std::string method, url, advice;  // of one of them
    std::vector<std::string> programs;
    bool same_method = true, same_url = true;
  };
  static std::string way_to_allow(const Key& key, const Seen& seen);
  static std::string flag_to_allow(const Key& key);
  std::map<Key, Seen> groups_;
};

/// The refusals of the newest boot in the log; looks at its last 64 MiB at most.
Result<std::vector<DeniedGroup>> denials_of_last_boot(const std::filesystem::path& current);

}  // namespace pinhole::audit
