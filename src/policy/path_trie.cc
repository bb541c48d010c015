// SPDX-License-Identifier: Apache-2.0
#include "policy/path_trie.h"

namespace pinhole::policy {

void PathTrie::insert(const PathPattern& pattern, RuleIndex rule) {
  Node* node = &root_;
  for (const std::string& segment : pattern.segments) {
    std::unique_ptr<Node>& next = segment == "*" ? node->star : node->children[segment];
    if (!next) next = std::make_unique<Node>();
    node = next.get();
  }
  std::optional<RuleIndex>& place = pattern.rest ? node->rest : node->end;
  if (!place) place = rule;
}

std::optional<RuleIndex> PathTrie::find(std::span<const std::string> path,
                                        std::size_t& steps) const {
  return find_below(root_, path, steps);
}

// The depth of recursion is that of the longest pattern, which rule.cc bounds.
std::optional<RuleIndex> PathTrie::find_below(const Node& node, std::span<const std::string> path,
                                              std::size_t& steps) {
  ++steps;
  if (path.empty()) return node.end;
  const auto child = node.children.find(path.front());
  if (child != node.children.end()) {
    if (auto rule = find_below(*child->second, path.subspan(1), steps)) return rule;
  }
  if (node.star && !path.front().empty()) {
    if (auto rule = find_below(*node.star, path.subspan(1), steps)) return rule;
  }
  return node.rest;
}

std::optional<RuleIndex> PathTrie::covering(const PathPattern& pattern) const {
  return covering_below(root_, pattern.segments, pattern.rest);
}

std::optional<RuleIndex> PathTrie::covering_below(const Node& node,
                                                  std::span<const std::string> segments,
                                                  bool rest) {
  if (segments.empty()) return rest ? node.rest : node.end;
  if (node.rest) return node.rest;
  const std::string& first = segments.front();
  if (first != "*") {
    const auto child = node.children.find(first);
    if (child != node.children.end()) {
      if (auto rule = covering_below(*child->second, segments.subspan(1), rest)) return rule;
    }
  }
  if (node.star && !first.empty()) return covering_below(*node.star, segments.subspan(1), rest);
  return std::nullopt;
}

}  // namespace pinhole::policy
