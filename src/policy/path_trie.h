// SPDX-License-Identifier: Apache-2.0
// Path patterns by their segments: finding one takes time by the segments of the path, not by the
// number of patterns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "policy/rule.h"

namespace pinhole::policy {

/// Index of a rule in the table of all rules.
using RuleIndex = std::uint32_t;

/// Lets maps with string keys be asked with a string_view.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};
template <typename T>
using TextMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

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
