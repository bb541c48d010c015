// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process_state.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

constexpr std::uint64_t kProcFile = 64 << 10;
/// virtiofsd is a parent and a child, behind at most one process of its namespace.
constexpr int kDeepest = 4;

bool stopped_below(std::string_view pid, int depth) {
  const auto stat = sys::read_file(fmt::format("/proc/{}/stat", pid), kProcFile);
  if (!stat) return false;
  const char letter = state_letter(*stat);
  if (letter == 'T' || letter == 't') return true;
  if (depth == 0) return false;
  const auto children = sys::read_file(fmt::format("/proc/{0}/task/{0}/children", pid), kProcFile);
  if (!children) return false;
  for (const std::string_view child : split(*children, ' ')) {
    if (parse_u64(child) && stopped_below(child, depth - 1)) return true;
  }
  return false;
}

}  // namespace

char state_letter(std::string_view stat) {
  // The name is in parentheses and may hold anything, those included.
  const std::size_t end = stat.rfind(") ");
  if (end == std::string_view::npos || end + 2 >= stat.size()) return 0;
  return stat[end + 2];
}

bool is_stopped(pid_t pid) { return stopped_below(std::to_string(pid), kDeepest); }

bool is_stopped_itself(pid_t pid) { return stopped_below(std::to_string(pid), 0); }

}  // namespace pinhole::supervisor
