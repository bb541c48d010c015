// SPDX-License-Identifier: Apache-2.0
#include "supervisor/console_text.h"

#include <utility>

#include "base/strings.h"

namespace pinhole::supervisor {
namespace {

constexpr char kEscape = '\x1b';

}  // namespace

void ConsoleText::feed(std::string_view bytes) {
  for (const char c : bytes) take(c);
}

std::string_view ConsoleText::unfinished() const { return trim(line_); }

void ConsoleText::take(char c) {
  if (c == kEscape) {
    escape_ = Escape::begun;
    return;
  }
  switch (std::exchange(escape_, Escape::none)) {
    case Escape::none:
      return text(c);
    case Escape::begun:
      if (c == '[') escape_ = Escape::parameters;
      return;
    case Escape::parameters:
      if (c >= 0x20 && c < 0x40) {
        escape_ = Escape::parameters;
      } else if (c == 'H' || c == 'f') {
        end_line();  // the cursor is put elsewhere
      } else if (c < 0x40) {
        text(c);  // cut in two by somebody else's output, as systemd's long names are
      }
      return;
  }
}

void ConsoleText::text(char c) {
  if (c == '\r') {
    carriage_return_ = true;
    return;
  }
  if (c == '\n' || carriage_return_) end_line();
  carriage_return_ = false;
  if (c == '\n' || line_.size() >= kLongest) return;
  line_ += c;
  if (hooks_.grown) hooks_.grown(line_);
}

void ConsoleText::end_line() {
  if (const std::string_view whole = trim(line_); !whole.empty() && hooks_.line) hooks_.line(whole);
  line_.clear();
}

}  // namespace pinhole::supervisor
