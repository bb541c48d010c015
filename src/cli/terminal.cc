// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include <fmt/format.h>

#include "base/printable.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

std::string coloured(std::string_view text, int code) {
  return fancy(STDOUT_FILENO) ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

}  // namespace

bool fancy(int fd) {
  return ::isatty(fd) == 1 && !sys::env("NO_COLOR") && sys::env("TERM").value_or("dumb") != "dumb";
}

std::string green(std::string_view text) { return coloured(text, 32); }
std::string red(std::string_view text) { return coloured(text, 31); }
std::string dim(std::string_view text) { return coloured(text, 2); }

Progress::Progress() : terminal_(fancy(STDERR_FILENO)) {}
Progress::~Progress() { erase(); }

void Progress::erase() {
  if (terminal_ && !last_.empty()) std::cerr << "\r\x1b[K" << std::flush;
}

void Progress::show(std::string_view text, double fraction) {
  const std::string line = printable(text, 200);
  if (!terminal_) {
    if (line != last_) std::cerr << line << std::endl;
    last_ = line;
    return;
  }
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_)
          .count();
  std::string bar;
  if (fraction >= 0) {
    constexpr int kWidth = 24;
    const int full = std::clamp(static_cast<int>(fraction * kWidth), 0, kWidth);
    bar = fmt::format("[{}{}] ", std::string(static_cast<std::size_t>(full), '#'),
                      std::string(static_cast<std::size_t>(kWidth - full), '.'));
  }
  std::cerr << "\r\x1b[K" << bar << line << fmt::format("  {} s", elapsed) << std::flush;
  last_ = line;
}

void Progress::done(std::string_view line) {
  erase();
  std::cerr << printable(line) << std::endl;
  last_.clear();
}

void print_line(std::string_view line) { std::cout << line << '\n' << std::flush; }

}  // namespace pinhole::cli
