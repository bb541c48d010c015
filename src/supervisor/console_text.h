// SPDX-License-Identifier: Apache-2.0
// A console's bytes as lines of text: without the cursor's movements and colours that firmware, boot loaders and
// systemd paint with.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace pinhole::supervisor {

/// Incremental: what comes out does not depend on how the bytes were cut. Of a line that is longer than kLongest the rest is
/// dropped, whatever the guest sends.
class ConsoleText {
 public:
  static constexpr std::size_t kLongest = 480;

  struct Hooks {
    /// After each character, with the line as far as it has come: for prompts, which no newline follows.
    std::function<void(std::string_view so_far)> grown;
    /// A line that is not blank, trimmed.
    std::function<void(std::string_view line)> line;
  };
  explicit ConsoleText(Hooks hooks) : hooks_(std::move(hooks)) {}

  void feed(std::string_view bytes);
  /// The line that has not ended, trimmed.
  [[nodiscard]] std::string_view unfinished() const;

 private:
  /// ECMA-48: ESC starts a sequence, "ESC [" one with parameters that a letter ends.
  enum class Escape { none, begun, parameters };
  void take(char c);
  void text(char c);
  void end_line();

  Hooks hooks_;
  std::string line_;
  Escape escape_ = Escape::none;
  bool carriage_return_ = false;  // a lone one starts the line anew
};

}  // namespace pinhole::supervisor
