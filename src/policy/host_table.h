// SPDX-License-Identifier: Apache-2.0
// Rules by host, then by scheme and port, then by method, then by path. One table holds the allow
// rules, another the deny rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <boost/container/small_vector.hpp>
#include <boost/container/static_vector.hpp>

#include "http/host.h"
#include "http/url.h"
#include "policy/path_trie.h"
#include "policy/rule.h"

namespace pinhole::policy {

/// Rules that are about methods or paths.
struct PathRules {
  PathTrie any_method;
  TextMap<PathTrie> by_method;
};

/// The rules of one host pattern for one scheme and port. What most hosts have, one rule without
/// method and path, is all in here, beside its neighbours: a decision touches little memory.
struct ReachRules {
  std::uint32_t code = 0;
  std::optional<RuleIndex> whole;    ///< has neither method nor path
  std::optional<RuleIndex> partial;  ///< has one of them
  std::optional<RuleIndex> tunnel;
  std::unique_ptr<PathRules> paths;  ///< null where all rules are whole or tunnels
};

/// A scheme and a port can be given or open: four ways to be spoken of.
using ReachList = boost::container::static_vector<const ReachRules*, 4>;

/// The rules of one host pattern.
class HostRules {
 public:
  /// Those for a scheme and port, the precise ones first; of an allow table there is at most one.
  [[nodiscard]] ReachList at(http::Scheme scheme, std::uint16_t port, std::size_t& steps) const;
  /// The tcp:// rule of an allow table for this port.
  [[nodiscard]] std::optional<RuleIndex> raw_at(std::uint16_t port, std::size_t& steps) const;
  ReachRules& make(std::uint32_t code);

 private:
  [[nodiscard]] const ReachRules* find(std::uint32_t code) const;

  // In the order in which a decision looks at them.
  boost::container::small_vector<ReachRules, 2> reaches_;
  /// By code, where there are more than can be looked through.
  std::unique_ptr<std::unordered_map<std::uint32_t, std::size_t>> index_;

 public:
  HostPattern::Kind kind = HostPattern::Kind::exact;
  std::vector<RuleIndex> rules;  ///< in the order of the files
};
/// Enough room for a name of usual depth; deeper ones allocate.
using HostList = boost::container::small_vector<const HostRules*, 8>;

class HostTable {
 public:
  void insert(const Rule& rule, RuleIndex index);

  /// The patterns that match `host`, the most precise first. An IP address is matched only by a
  /// rule that spells it, and "*" is for names of at least two labels; with `any_means_any`, as for
  /// denies, "*" is for everything.
  [[nodiscard]] HostList matching(const http::Host& host, bool any_means_any,
                                  std::size_t& steps) const;
  /// The patterns that match whatever `pattern` matches.
  [[nodiscard]] HostList covering(const HostPattern& pattern) const;

  [[nodiscard]] const HostRules* any() const { return any_ ? &*any_ : nullptr; }

 private:
  void append_below(std::string_view name, HostList& out, std::size_t& steps) const;

  TextMap<HostRules> exact_;
  TextMap<HostRules> below_;
  std::optional<HostRules> any_;
};

/// A rule of `rules` that matches; where both fit, one for the method before one for any method.
std::optional<RuleIndex> find_rule(const ReachRules& rules, std::string_view method,
                                   std::span<const std::string> path, std::size_t& steps);

/// False only where no rule of a ceiling reaches the host and port of `rule` at all.
bool may_be_under(const HostTable& ceiling, const Rule& rule);

/// A rule of the deny table that covers all that `rule` could ever allow.
std::optional<RuleIndex> covering_deny(const HostTable& denies, const Rule& rule);

}  // namespace pinhole::policy
