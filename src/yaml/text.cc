// SPDX-License-Identifier: Apache-2.0
#include "yaml/text.h"

#include <algorithm>
#include <cstdint>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::yaml {
namespace {

/// Length of the UTF-8 sequence at `at`, shortest form only and no surrogates; 0 where it is none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const std::uint8_t second = byte(1);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second > 0x9F;
  const bool too_large = first == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_large ? 0 : length;
}

/// YAML 1.1 also breaks lines at NEL, LS and PS, which editors do not show as line breaks: what a
/// reviewer takes for a comment could be a rule.
bool hidden_line_break(std::string_view character) {
  return character == "\xC2\x85" || character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9";
}

/// Why the character at `at` may not be in a file; empty where it may.
std::string refused_character(std::string_view text, std::size_t at, std::size_t length) {
  if (length == 0) return "the file is not text: this byte is not UTF-8";
  const char c = text[at];
  if (c == '\0') return "the file is not text: it holds a NUL byte";
  if (c == '\r' && (at + 1 == text.size() || text[at + 1] != '\n')) {
    return "a carriage return without a line feed";
  }
  const bool allowed_control = c == '\t' || c == '\n' || c == '\r';
  if ((static_cast<std::uint8_t>(c) < 0x20 && !allowed_control) || c == 0x7F) {
    return "a control character is not allowed";
  }
  if (length == 2 && c == '\xC2' && static_cast<std::uint8_t>(text[at + 1]) < 0xA0 &&
      text[at + 1] != '\x85') {
    return "a control character is not allowed";
  }
  if (hidden_line_break(text.substr(at, length))) {
    return "an invisible line break (U+0085, U+2028 or U+2029) is not allowed";
  }
  return {};
}

}  // namespace

Result<void> check_characters(const Document& document) {
  const std::string_view text = document.text;
  Mark mark{1, 1};
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    if (const std::string why = refused_character(text, at, length); !why.empty()) {
      return fail(error_at(document, mark, why));
    }
    if (text[at] == '\n') {
      mark = {mark.line + 1, 1};
    } else {
      ++mark.column;
    }
    at += length;
  }
  return {};
}

namespace {

std::string_view line_of(std::string_view text, std::size_t line) {
  for (std::size_t i = 1; i < line; ++i) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

/// `count` characters from the start of `text` (bytes that are not UTF-8 count as one each).
std::string_view first_characters(std::string_view text, std::size_t count) {
  std::size_t at = 0;
  for (; count > 0 && at < text.size(); --count) {
    at += std::max<std::size_t>(1, utf8_length(text, at));
  }
  return text.substr(0, at);
}

std::size_t shown_width(std::string_view printed) {
  return static_cast<std::size_t>(
      std::ranges::count_if(printed, [](char c) { return (c & 0xC0) != 0x80; }));
}

/// The line and a caret below it; of a long line only the neighbourhood.
std::vector<std::string> pointer(std::string_view text, Mark mark) {
  constexpr std::size_t kBefore = 60;  // characters in front of the caret
  constexpr std::size_t kLength = 100;
  std::string_view line = line_of(text, mark.line);
  if (mark.line == 0 || trim(line).empty()) return {};
  std::size_t column = mark.column - 1;
  std::string lead;
  if (column > kBefore) {
    line.remove_prefix(first_characters(line, column - kBefore).size());
    column = kBefore;
    lead = "…";
  }
  const std::string_view cut = first_characters(line, kLength);
  const std::string before = lead + printable(first_characters(line, column));
  std::string shown = lead + printable(cut) + (cut.size() < line.size() ? "…" : "");
  return {std::move(shown), std::string(shown_width(before), ' ') + "^"};
}

}  // namespace

Error error_at(const Document& document, Mark mark, std::string_view message,
               std::string_view suggestion) {
  std::string text = document.source;
  if (mark.line > 0) text += fmt::format(":{}:{}", mark.line, mark.column);
  text += fmt::format(": {}", message);
  if (!suggestion.empty()) text += fmt::format("; did you mean \"{}\"?", suggestion);
  return Error{.message = std::move(text), .details = pointer(document.text, mark)};
}

}  // namespace pinhole::yaml
