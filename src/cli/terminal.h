// SPDX-License-Identifier: Apache-2.0
// Output for people: colour and progress on a terminal only, plain lines elsewhere.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::cli {

/// Whether stdout (1) or stderr (2) is a terminal and the user has not set NO_COLOR.
bool fancy(int fd);

std::string green(std::string_view text);
std::string red(std::string_view text);
std::string dim(std::string_view text);

/// One line on stderr that changes in place while something takes its time. On anything but a
/// terminal each new text is a line of its own. Erased by its destructor.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `fraction` below 0: unknown; then only the text and the seconds are shown.
  void show(std::string_view text, double fraction = -1);
  /// Leaves a line that stays.
  void done(std::string_view line);

 private:
  void erase();
  bool terminal_;
  std::string last_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

// All that the commands print goes through these (scripts/check sees to it). Foreign text passes printable() where it is
// put into a line, so that it cannot pass for ours; here everything does once more.

/// A line on stdout. Of control characters, only the colours above are left.
void print_line(std::string_view line);
/// JSON on stdout; what could act on a terminal is spelled \uNNNN, which means the same.
void print_json(std::string_view serialised);
/// A line on stderr.
void print_note(std::string_view line);
void print_error(const Error& error);
/// The bytes as they are, because the user asked for that. False when nobody takes them any more.
bool print_raw(std::string_view bytes);
/// Asks on stdout, reads a line of stdin; true for yes.
bool ask_yes(std::string_view question);
/// Asks on stderr, reads a line of stdin, without its newline and in lower case; empty at the end of the input.
std::string ask_line(std::string_view question);

}  // namespace pinhole::cli
