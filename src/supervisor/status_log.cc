// SPDX-License-Identifier: Apache-2.0
#include "supervisor/status_log.h"

#include <algorithm>

#include "base/clock.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

constexpr std::size_t kLongestLine = 1000;
constexpr std::string_view kStatePrefix = "VM state: ";
constexpr std::string_view kFailurePrefix = "failure ";
constexpr std::string_view kInStage = " in stage ";
constexpr std::string_view kFix = "; fix: ";
constexpr std::size_t kTimeAndSpace = std::string_view("2026-11-22T17:36:22.862Z ").size();

StatusLog::Failure parse_failure(std::string_view text) {
  StatusLog::Failure out;
  const std::size_t fix = text.find(kFix);
  if (fix != std::string_view::npos) out.fix = text.substr(fix + kFix.size());
  text = text.substr(0, fix);
  const std::size_t stage = text.find(kInStage);
  if (stage != std::string_view::npos) out.stage = text.substr(stage + kInStage.size());
  out.code = text.substr(0, stage);
  return out;
}

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
  PINHOLE_TRY(CappedLog log, CappedLog::open(path));
  return StatusLog(std::move(log));
}

void StatusLog::state(VmState state, std::string_view reason) {
  line(fmt::format("{}{} ({}){}{}", kStatePrefix, static_cast<int>(state), to_string(state),
                   reason.empty() ? "" : ": ", reason));
}

void StatusLog::failure(const Failure& failure) {
  line(fmt::format("{}{}{}{}{}{}", kFailurePrefix, failure.code.empty() ? "other" : failure.code,
                   failure.stage.empty() ? "" : kInStage, failure.stage,
                   failure.fix.empty() ? "" : kFix, failure.fix));
}

void StatusLog::line(std::string_view text) {
  const std::string time = now_text() + " ";
  log_.write(fmt::format("{}{}\n", time, printable(text, kLongestLine)), time);
}

void StatusLog::foreign_line(std::string_view text, std::chrono::steady_clock::time_point now) {
  const auto earned = static_cast<std::uint64_t>((now - foreign_since_) / kForeignInterval);
  foreign_since_ += kForeignInterval * earned;
  foreign_left_ = std::min(kForeignBurst, foreign_left_ + earned);
  if (foreign_left_ == 0) {
    ++foreign_dropped_;
    return;
  }
  --foreign_left_;
  if (foreign_dropped_ > 0) line(fmt::format("{} more such lines were dropped", foreign_dropped_));
  foreign_dropped_ = 0;
  line(text);
}

LastState read_last_state(const std::filesystem::path& path) {
  LastState last{.state = VmState::stopped, .time = {}, .reason = "never started"};
  const auto content = sys::read_file(path, 2 * CappedLog::kLimit);
  if (!content) return last;
  StatusLog::Failure failure;
  for (const std::string_view text : split(*content, '\n')) {
    // What a guest causes has another word there: "stage", "guest:", "console:", "qemu:".
    if (text.size() > kTimeAndSpace && text.substr(kTimeAndSpace).starts_with(kFailurePrefix))
      failure = parse_failure(text.substr(kTimeAndSpace + kFailurePrefix.size()));
    const std::size_t at = text.find(kStatePrefix);
    if (at == std::string_view::npos || at != kTimeAndSpace) continue;
    const std::string_view rest = text.substr(at + kStatePrefix.size());
    const auto number = parse_u64(rest.substr(0, rest.find(' ')));
    if (!number || *number > 9) continue;
    const std::size_t colon = rest.find("): ");
    last = {.state = static_cast<VmState>(*number),
            .time = std::string(text.substr(0, at - 1)),
            .reason = colon == std::string_view::npos ? "" : std::string(rest.substr(colon + 3)),
            .failure = std::exchange(failure, {})};
  }
  return last;
}

}  // namespace pinhole::supervisor
