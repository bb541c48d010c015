// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/printable.h"

namespace pinhole {
namespace {

struct Log {
  std::string program = "pinhole";
  LogLevel level = LogLevel::info;
};
Log& the_log() {
  static Log log;
  return log;
}

}  // namespace

void set_log(std::string_view program, LogLevel level) {
  the_log() = {std::string(program), level};
}

void log_line(LogLevel level, std::string_view text) {
  constexpr std::size_t kLongestLine = 4096;
  if (level > the_log().level) return;
  const std::string line =
      fmt::format("{} {}: {}\n", now_text(), the_log().program, printable(text, kLongestLine));
  // One write, so that lines of several processes do not mix; a full pipe loses the line, not us.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace pinhole
