// SPDX-License-Identifier: Apache-2.0
#include "supervisor/status_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/clock.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

constexpr std::uint64_t kRotateAt = 4 << 20;
constexpr std::size_t kLongestLine = 1000;
constexpr std::string_view kStatePrefix = "VM state: ";

}  // namespace

std::string_view to_string(VmState state) {
  switch (state) {
    case VmState::stopped:
      return "stopped";
    case VmState::running:
      return "running";
    case VmState::paused:
      return "paused";
    case VmState::error:
      return "error";
    case VmState::starting:
      return "starting";
    case VmState::pausing:
      return "pausing";
    case VmState::resuming:
      return "resuming";
    case VmState::stopping:
      return "stopping";
    case VmState::saving:
      return "saving";
    case VmState::restoring:
      return "restoring";
  }
  return "unknown";
}

Result<StatusLog> StatusLog::open(const std::filesystem::path& path) {
  PINHOLE_TRY(Fd file, sys::open_append(path));
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  return StatusLog(path, std::move(file), error ? 0 : size);
}

void StatusLog::state(VmState state, std::string_view reason) {
  line(fmt::format("{}{} ({}){}{}", kStatePrefix, static_cast<int>(state), to_string(state),
                   reason.empty() ? "" : ": ", reason));
}

void StatusLog::line(std::string_view text) {
  if (size_ > kRotateAt) {
    std::error_code error;
    std::filesystem::rename(path_, path_.string() + ".1", error);
    if (auto fresh = sys::open_append(path_)) file_ = *std::move(fresh);
    size_ = 0;
  }
  // A full disk loses lines of this log; what it would have said is also on its way to the user.
  const std::string line = fmt::format("{} {}\n", now_text(), printable(text, kLongestLine));
  if (sys::write_all(file_.get(), line)) size_ += line.size();
}

LastState read_last_state(const std::filesystem::path& path) {
  LastState last{.state = VmState::stopped, .time = {}, .reason = "never started"};
  const auto content = sys::read_file(path, 2 * kRotateAt);
  if (!content) return last;
  for (const std::string_view text : split(*content, '\n')) {
    const std::size_t at = text.find(kStatePrefix);
    if (at == std::string_view::npos || at != std::string_view("2026-11-22T17:36:22.862Z ").size())
      continue;
    const std::string_view rest = text.substr(at + kStatePrefix.size());
    const auto number = parse_u64(rest.substr(0, rest.find(' ')));
    if (!number || *number > 9) continue;
    const std::size_t colon = rest.find("): ");
    last = {.state = static_cast<VmState>(*number),
            .time = std::string(text.substr(0, at - 1)),
            .reason = colon == std::string_view::npos ? "" : std::string(rest.substr(colon + 3))};
  }
  return last;
}

}  // namespace pinhole::supervisor
