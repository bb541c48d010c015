// SPDX-License-Identifier: Apache-2.0
// Path patterns by their segments: finding one takes time by the segments of the path, not by the
// number of patterns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "policy/rule.h"
#include "policy/text_map.h"

namespace pinhole::policy {

/// Index of a rule in the table of all rules.
using RuleIndex = std::uint32_t;

class PathTrie {
 public:
  /// Where two rules have the same pattern, the first one stays.
  void insert(const PathPattern& pattern, RuleIndex rule);
  /// A pattern that matches, literal segments before `*` before `**`.
  [[nodiscard]] std::optional<RuleIndex> find(std::span<const std::string> path,
                                              std::size_t& steps) const;
  /// A pattern that matches whatever `pattern` matches.
  [[nodiscard]] std::optional<RuleIndex> covering(const PathPattern& pattern) const;

 private:
  struct Node {
    TextMap<std::unique_ptr<Node>> children;
    std::unique_ptr<Node> star;
    std::optional<RuleIndex> end;
    std::optional<RuleIndex> rest;
  };
  static std::optional<RuleIndex> find_below(const Node& node, std::span<const std::string> path,
                                             std::size_t& steps);
  static std::optional<RuleIndex> covering_below(const Node& node,
                                                 std::span<const std::string> segments, bool rest);
  Node root_;
};

}  // namespace pinhole::policy
