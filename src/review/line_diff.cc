// SPDX-License-Identifier: Apache-2.0
#include "review/line_diff.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>

#include <fmt/format.h>

namespace pinhole::review {
namespace {

enum class Step : char { keep = ' ', remove = '-', add = '+' };
using Lines = std::vector<std::string_view>;

/// Each with its newline: a last line without one is another line than the same with one.
Lines lines_of(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::size_t size = end == std::string_view::npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

/// One number for each line that differs, so that comparing two is cheap.
struct Numbered {
  std::vector<int> before, after;
};
Numbered number(std::span<const std::string_view> before, std::span<const std::string_view> after) {
  std::unordered_map<std::string_view, int> known;
  const auto id = [&known](std::string_view line) {
    return known.try_emplace(line, static_cast<int>(known.size())).first->second;
  };
  Numbered out;
  for (const std::string_view line : before) out.before.push_back(id(line));
  for (const std::string_view line : after) out.after.push_back(id(line));
  return out;
}

/// How far each diagonal reached after so many edits; diagonal k is at k + edits.
using Reach = std::vector<int>;

bool goes_down(const Reach& last, int edits, int k) {
  if (k == -edits) return true;
  if (k == edits) return false;
  const auto at = [&](int diagonal) {
    return last[static_cast<std::size_t>(diagonal + edits - 1)];
  };
  return at(k - 1) < at(k + 1);
}

std::vector<Step> walk_back(const std::vector<Reach>& trace, int x, int y) {
  std::vector<Step> steps;
  for (int edits = static_cast<int>(trace.size()) - 1; edits > 0; --edits) {
    const Reach& last = trace[static_cast<std::size_t>(edits) - 1];
    const int k = x - y;
    const bool down = goes_down(last, edits, k);
    const int from = down ? k + 1 : k - 1;
    const int start_x = last[static_cast<std::size_t>(from + edits - 1)];
    const int start_y = start_x - from;
    for (; x > start_x && y > start_y; --x, --y) steps.push_back(Step::keep);
    steps.push_back(down ? Step::add : Step::remove);
    x = start_x;
    y = start_y;
  }
  for (; x > 0; --x) steps.push_back(Step::keep);
  std::ranges::reverse(steps);
  return steps;
}

/// Myers, "An O(ND) Difference Algorithm": the fewest edits, or nothing where they are too many.
std::optional<std::vector<Step>> fewest_edits(const std::vector<int>& a,
                                              const std::vector<int>& b) {
  const int n = static_cast<int>(a.size()), m = static_cast<int>(b.size());
  std::vector<Reach> trace;
  for (int edits = 0; edits <= std::min(n + m, kMostEdits); ++edits) {
    trace.emplace_back(static_cast<std::size_t>(2 * edits + 1), 0);
    Reach& reach = trace.back();
    for (int k = -edits; k <= edits; k += 2) {
      int x = 0;
      if (edits > 0) {
        const Reach& last = trace[static_cast<std::size_t>(edits) - 1];
        const bool down = goes_down(last, edits, k);
        x = down ? last[static_cast<std::size_t>(k + edits)]
                 : last[static_cast<std::size_t>(k + edits - 2)] + 1;
      }
      while (x < n && x - k < m && x - k >= 0 &&
             a[static_cast<std::size_t>(x)] == b[static_cast<std::size_t>(x - k)])
        ++x;
      reach[static_cast<std::size_t>(k + edits)] = x;
      if (x >= n && x - k >= m) return walk_back(trace, n, m);
    }
  }
  return std::nullopt;
}

struct Compared {
  Lines before, after;
  std::size_t same_first = 0;  // lines at the beginning
  std::optional<std::vector<Step>>
      steps;  // between those and the same lines at the end; nothing: too many
  std::size_t same_last = 0;
};

Compared compare(std::string_view before, std::string_view after) {
  Compared out{.before = lines_of(before), .after = lines_of(after)};
  std::span<const std::string_view> a = out.before, b = out.after;
  const auto [end_a, end_b] = std::ranges::mismatch(a, b);
  out.same_first = static_cast<std::size_t>(end_a - a.begin());
  a = a.subspan(out.same_first);
  b = b.subspan(out.same_first);
  while (out.same_last < std::min(a.size(), b.size()) &&
         a[a.size() - 1 - out.same_last] == b[b.size() - 1 - out.same_last])
    ++out.same_last;
  a = a.first(a.size() - out.same_last);
  b = b.first(b.size() - out.same_last);
  if (a.size() > kMostLines || b.size() > kMostLines) return out;
  const Numbered numbers = number(a, b);
  out.steps = fewest_edits(numbers.before, numbers.after);
  return out;
}

LineCount count_as_heap(const Compared& compared) {
  std::unordered_map<std::string_view, std::int64_t> balance;
  for (const std::string_view line : compared.before) ++balance[line];
  for (const std::string_view line : compared.after) --balance[line];
  LineCount out;
  for (const auto& [line, left] : balance)
    (left > 0 ? out.removed : out.added) += static_cast<std::size_t>(left > 0 ? left : -left);
  return out;
}

/// The same lines around the edits stay, where nothing better is known all in between goes and comes.
std::vector<Step> all_steps(const Compared& compared) {
  std::vector<Step> steps(compared.same_first, Step::keep);
  if (compared.steps) {
    steps.insert(steps.end(), compared.steps->begin(), compared.steps->end());
  } else {
    const std::size_t same = compared.same_first + compared.same_last;
    steps.insert(steps.end(), compared.before.size() - same, Step::remove);
    steps.insert(steps.end(), compared.after.size() - same, Step::add);
  }
  steps.insert(steps.end(), compared.same_last, Step::keep);
  return steps;
}

std::string range(std::size_t first, std::size_t count) {
  return fmt::format("{},{}", count == 0 ? first : first + 1, count);
}

/// Steps that are shown together: [first, end).
struct Hunk {
  std::size_t first = 0, end = 0;
};
std::vector<Hunk> hunks_of(const std::vector<Step>& steps) {
  constexpr std::size_t kAround = 3;
  std::vector<Hunk> hunks;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] == Step::keep) continue;
    const std::size_t first = i < kAround ? 0 : i - kAround;
    const std::size_t end = std::min(steps.size(), i + 1 + kAround);
    if (!hunks.empty() && first <= hunks.back().end) {
      hunks.back().end = end;
    } else {
      hunks.push_back({.first = first, .end = end});
    }
  }
  return hunks;
}

void add_line(std::vector<std::string>& out, Step step, std::string_view line) {
  const bool whole = line.ends_with('\n');
  if (whole) line.remove_suffix(1);
  out.push_back(static_cast<char>(step) + std::string(line));
  if (!whole) out.emplace_back("\\ No newline at end of file");
}

}  // namespace

bool is_text(std::string_view content) {
  constexpr std::size_t kLookedAt = 8192;
  return !content.substr(0, kLookedAt).contains('\0');
}

LineCount count_changed_lines(std::string_view before, std::string_view after) {
  const Compared compared = compare(before, after);
  if (!compared.steps) return count_as_heap(compared);
  const auto count = [&](Step step) {
    return static_cast<std::size_t>(std::ranges::count(*compared.steps, step));
  };
  return {.added = count(Step::add), .removed = count(Step::remove)};
}

std::vector<std::string> unified_diff(std::string_view before, std::string_view after,
                                      std::size_t most) {
  const Compared compared = compare(before, after);
  const std::vector<Step> steps = all_steps(compared);
  std::vector<std::string> out;
  std::size_t at = 0, old_line = 0, new_line = 0;
  for (const Hunk& hunk : hunks_of(steps)) {
    for (; at < hunk.first; ++at, ++old_line, ++new_line) {
    }
    const auto count = [&](Step other) {
      return hunk.end - hunk.first -
             static_cast<std::size_t>(
                 std::count(steps.begin() + static_cast<std::ptrdiff_t>(hunk.first),
                            steps.begin() + static_cast<std::ptrdiff_t>(hunk.end), other));
    };
    out.push_back(fmt::format("@@ -{} +{} @@", range(old_line, count(Step::add)),
                              range(new_line, count(Step::remove))));
    for (; at < hunk.end && out.size() < most; ++at) {
      const Step step = steps[at];
      add_line(out, step, step == Step::add ? compared.after[new_line] : compared.before[old_line]);
      if (step != Step::add) ++old_line;
      if (step != Step::remove) ++new_line;
    }
    if (out.size() >= most) {
      out.resize(most);
      out.emplace_back("… and more");
      break;
    }
  }
  return out;
}

}  // namespace pinhole::review
