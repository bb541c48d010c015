// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include <fmt/format.h>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

constexpr std::string_view kOwnCodes[] = {"\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"};

std::string without_foreign_controls(std::string_view line) {
  std::string out;
  std::size_t start = 0;
  for (std::size_t at = line.find('\x1b'); at != std::string_view::npos;
       at = line.find('\x1b', at + 1)) {
    for (const std::string_view code : kOwnCodes) {
      if (!line.substr(at).starts_with(code) || !fancy(STDOUT_FILENO)) continue;
      out += printable(line.substr(start, at - start)).append(code);
      start = at + code.size();
    }
  }
  return out += printable(line.substr(start));
}

/// By its first byte's word; printable() finds out whether it is one.
std::string_view first_character(std::string_view text) {
  const auto first = static_cast<std::uint8_t>(text.front());
  return text.substr(0, first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4);
}

/// "\x9b" and "\u{202e}", as printable() has them, in JSON's spelling. What is not UTF-8 cannot be in JSON.
std::string json_escape(const std::string& shown) {
  unsigned code = 0xFFFD;
  if (std::sscanf(shown.c_str(), "\\x%2x", &code) != 1)
    (void)std::sscanf(shown.c_str(), "\\u{%x}", &code);
  if (code <= 0xFFFF) return fmt::format("\\u{:04x}", code);
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                     0xDC00 + ((code - 0x10000) & 0x3FF));
}

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

void print_line(std::string_view line) {
  std::cout << without_foreign_controls(line) << '\n' << std::flush;
}

void print_json(std::string_view serialised) {
  std::string out;
  while (!serialised.empty()) {
    const std::string_view character = first_character(serialised);
    const std::string shown = printable(character);
    out += shown == character ? shown : json_escape(shown);
    serialised.remove_prefix(character.size());
  }
  std::cout << out << '\n' << std::flush;
}

void print_note(std::string_view line) {
  std::cerr << without_foreign_controls(line) << '\n' << std::flush;
}

void print_error(const Error& error) { std::cerr << format_error("pinhole", error) << std::flush; }

bool print_raw(std::string_view bytes) {
  std::cout << bytes << std::flush;
  return static_cast<bool>(std::cout);
}

bool ask_yes(std::string_view question) {
  std::cout << without_foreign_controls(question) << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

std::string ask_line(std::string_view question) {
  std::cerr << without_foreign_controls(question) << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return to_lower(trim(answer));
}

}  // namespace pinhole::cli
