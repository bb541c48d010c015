// SPDX-License-Identifier: Apache-2.0
// Two texts, line by line: how many lines came and went, and the difference as diff -u shows it. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pinhole::review {

/// Beyond either, lines are compared as a heap and not in their order.
inline constexpr std::size_t kMostLines = 50'000;
inline constexpr int kMostEdits = 1'000;

/// No NUL byte in its first 8 KiB, which is what git goes by.
bool is_text(std::string_view content);

struct LineCount {
  std::size_t added = 0;
  std::size_t removed = 0;
  bool operator==(const LineCount&) const = default;
};
LineCount count_changed_lines(std::string_view before, std::string_view after);

/// Hunks with three lines around them, "@@ -1,4 +1,5 @@" and then " ", "-" or "+" before each line; at most `most` lines,
/// the last of which then says that there are more. The lines' bytes are as they are. Empty: no difference.
std::vector<std::string> unified_diff(std::string_view before, std::string_view after,
                                      std::size_t most);

}  // namespace pinhole::review
