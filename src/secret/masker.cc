// SPDX-License-Identifier: Apache-2.0
#include "secret/masker.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/check.h"
#include "secret/encoding.h"

namespace pinhole::secret {
namespace {

constexpr std::size_t kWindow = 4;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

char standard_base64(char c) {
  if (c == '-') return '+';
  return c == '_' ? '/' : c;
}

/// The line breaks that may stand between two base64 characters, raw and as JSON writes them.
constexpr std::array<std::string_view, 4> kBreaks = {"\n", "\r\n", "\\n", "\\r\\n"};

}  // namespace

/// What one symbol of a pattern can be at the start of a text: nothing, or up to two lengths (a
/// value with "%" or "\" in it can be read in two ways).
struct MaskTable::Step {
  std::array<std::uint8_t, 2> lengths = {};
  std::size_t count = 0;
  bool starved = false;

  void add(std::uint8_t length) {
    PINHOLE_CHECK(count < lengths.size());
    lengths[count++] = length;
  }
};

struct MaskTable::Walk {
  std::size_t length = 0;
  bool starved = false;
};

bool MaskTable::accepts(Kind kind, char symbol, char c) {
  switch (kind) {
    case Kind::plain:
      return c == symbol;
    case Kind::base64:
      return standard_base64(c) == symbol;
    case Kind::hexadecimal:
      return lower(c) == symbol;
  }
  return false;
}

MaskTable::Step MaskTable::step(Kind kind, char symbol, std::string_view rest) {
  Step step;
  if (rest.empty()) {
    step.starved = true;
    return step;
  }
  const char first = rest[0];
  if (accepts(kind, symbol, first) || (kind == Kind::plain && symbol == ' ' && first == '+'))
    step.add(1);
  if (first != '%' && first != '\\') return step;

  // An escape: %XX, \uXXXX, or a backslash and the character.
  std::size_t digits = 1;
  if (first == '\\') {
    if (rest.size() == 1) {
      step.starved = true;
      return step;
    }
    if (rest[1] != 'u') {
      const bool known = rest[1] == '"' || rest[1] == '\\' || rest[1] == '/';
      if (known && accepts(kind, symbol, rest[1])) step.add(2);
      return step;
    }
    for (digits = 2; digits < 4; ++digits) {
      if (digits < rest.size() && rest[digits] != '0') return step;
    }
  }
  int code = 0;
  for (std::size_t i = digits; i < digits + 2; ++i) {
    if (i >= rest.size()) {
      step.starved = true;
      return step;
    }
    const int digit = hex_digit(rest[i]);
    if (digit < 0) return step;
    code = code * 16 + digit;
  }
  if (accepts(kind, symbol, static_cast<char>(code)))
    step.add(static_cast<std::uint8_t>(digits + 2));
  return step;
}

MaskTable::Walk MaskTable::walk(const Pattern& pattern, std::string_view text) {
  struct State {
    std::size_t at;
    std::size_t symbol;
    auto operator<=>(const State&) const = default;
  };
  Walk walk;
  std::vector<State> others;  // second ways to read, not walked yet
  std::set<State> seen;       // so that each is walked once
  State now = {0, 0};
  while (true) {
    if (now.symbol == pattern.symbols.size()) {
      walk.length = std::max(walk.length, now.at);
    } else {
      std::string_view rest = text.substr(now.at);
      std::size_t skipped = 0;
      if (pattern.kind == Kind::base64 && now.symbol > 0 && !rest.empty() &&
          (rest[0] == '\n' || rest[0] == '\r' || rest[0] == '\\')) {
        for (const std::string_view line_break : kBreaks) {
          if (rest.starts_with(line_break)) {
            skipped = line_break.size();
          } else if (line_break.starts_with(rest)) {
            walk.starved = true;
          }
        }
        rest.remove_prefix(skipped);
      }
      const Step next = step(pattern.kind, pattern.symbols[now.symbol], rest);
      walk.starved |= next.starved;
      if (next.count == 2) {
        const State other = {now.at + skipped + next.lengths[1], now.symbol + 1};
        if (seen.insert(other).second) others.push_back(other);
      }
      if (next.count > 0) {
        now = {now.at + skipped + next.lengths[0], now.symbol + 1};
        continue;
      }
    }
    if (others.empty()) return walk;
    now = others.back();
    others.pop_back();
  }
}

std::uint32_t MaskTable::slot(const char* window) {
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, window, kWindow);
  return bytes * 0x9E3779B1U >> (32 - kWindowBits);
}

MaskTable::MaskTable(std::span<const Entry> entries)
    : windows_((std::size_t{1} << kWindowBits) / 64) {
  for (const Entry& entry : entries) {
    PINHOLE_CHECK(entry.value.size() >= 8);
    add(Kind::plain, entry.value, entry.placeholder);
    add_base64(entry.value, entry.placeholder);
    std::string digits;
    for (const char c : entry.value) {
      digits += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      digits += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
    }
    add(Kind::hexadecimal, digits, entry.placeholder);
    explicit_bzero(digits.data(), digits.size());
  }
}

void MaskTable::add(Kind kind, std::string_view symbols, std::string_view placeholder) {
  PINHOLE_CHECK(patterns_.size() < UINT16_MAX);
  patterns_.push_back({.kind = kind,
                       .symbols = WipedBytes(symbols.begin(), symbols.end()),
                       .placeholder = std::string(placeholder)});
  note_starts(static_cast<std::uint16_t>(patterns_.size() - 1));
}

void MaskTable::add_base64(std::string_view value, std::string_view placeholder) {
  // With `before` other bytes in front, the characters whose six bits are all the value's own.
  for (std::size_t before = 0; before < 3; ++before) {
    std::string padded = std::string(before, '\0') + std::string(value);
    std::string text = base64_encode(padded);
    const std::size_t first = (before * 8 + 5) / 6;
    const std::size_t end = padded.size() * 8 / 6;
    add(Kind::base64, std::string_view(text).substr(first, end - first), placeholder);
    explicit_bzero(padded.data(), padded.size());
    explicit_bzero(text.data(), text.size());
  }
}

void MaskTable::note_starts(std::uint16_t pattern) {
  std::string begun;
  note_windows(patterns_[pattern], 0, begun);
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const Step first =
        step(patterns_[pattern].kind, patterns_[pattern].symbols[0], std::string_view(&c, 1));
    if (first.count > 0 || first.starved)
      by_first_[static_cast<std::size_t>(byte)].push_back(pattern);
  }
}

/// Marks every four bytes by which a spelling can begin, given what it has begun with.
void MaskTable::note_windows(const Pattern& pattern, std::size_t symbol, std::string& begun) {
  if (begun.size() >= kWindow) {
    const std::uint32_t at = slot(begun.data());
    windows_[at / 64] |= std::uint64_t{1} << at % 64;
    return;
  }
  const auto go_on = [&](std::string_view spelling) {
    const std::size_t size = begun.size();
    begun += spelling;
    note_windows(pattern, symbol + 1, begun);
    begun.resize(size);
  };
  const auto spell_all = [&](std::string_view line_break) {
    for (int byte = 0x20; byte < 0x7F; ++byte) {
      const char c = static_cast<char>(byte);
      const bool blank = pattern.kind == Kind::plain && pattern.symbols[symbol] == ' ' && c == '+';
      if (blank) go_on(std::string(line_break) + c);
      if (!accepts(pattern.kind, pattern.symbols[symbol], c)) continue;
      go_on(std::string(line_break) + c);
      if (c == '"' || c == '\\' || c == '/') go_on(std::string(line_break) + '\\' + c);
      for (const std::string_view digits : {"0123456789abcdef", "0123456789ABCDEF"}) {
        // Of two digits only the second can be a letter, for printable ASCII.
        const std::string code = {digits[static_cast<std::size_t>(byte) >> 4],
                                  digits[static_cast<std::size_t>(byte) & 15]};
        go_on(std::string(line_break) + '%' + code);
        go_on(std::string(line_break) + "\\u00" + code);
      }
    }
  };
  spell_all("");
  if (pattern.kind == Kind::base64 && symbol > 0) {
    for (const std::string_view line_break : kBreaks) spell_all(line_break);
  }
}

std::size_t MaskTable::next_candidate(std::string_view text, std::size_t at) const {
  const char* const data = text.data();
  const std::uint64_t* const windows = windows_.data();
  for (; at + kWindow <= text.size(); ++at) {
    const std::uint32_t bit = slot(data + at);
    if ((windows[bit / 64] >> bit % 64 & 1) != 0) return at;
  }
  // Too little text for a window.
  while (at < text.size() && by_first_[static_cast<unsigned char>(data[at])].empty()) ++at;
  return at;
}

MaskTable::Sight MaskTable::look(std::string_view text, std::size_t at) const {
  Sight sight;
  const std::string_view rest = text.substr(at);
  for (const std::uint16_t index : by_first_[static_cast<unsigned char>(text[at])]) {
    const Walk walked = walk(patterns_[index], rest);
    sight.starved |= walked.starved;
    if (walked.length > sight.length) {
      sight.length = walked.length;
      sight.placeholder = patterns_[index].placeholder;
    }
  }
  return sight;
}

/// How much of `text` is done with.
std::size_t Masker::take(std::string_view text, bool at_end, std::string& out) {
  const auto put = [&](std::size_t from, std::size_t to) {
    from = std::max(from, released_);
    if (to > from) out += text.substr(from, to - from);
  };
  std::size_t done = 0;
  std::size_t at = 0;
  while ((at = table_->next_candidate(text, at)) < text.size()) {
    const MaskTable::Sight sight = table_->look(text, at);
    if (sight.starved && !at_end) break;
    if (sight.length == 0) {
      ++at;
      continue;
    }
    put(done, at);
    out += sight.placeholder;
    changed_ = true;
    done = at += sight.length;
  }
  put(done, at);
  released_ -= std::min(released_, at);
  return at;
}

void Masker::feed(std::string_view in, std::string& out) {
  if (held_.empty()) {
    const std::size_t done = take(in, false, out);
    held_.assign(in.begin() + static_cast<std::ptrdiff_t>(done), in.end());
    return;
  }
  held_.insert(held_.end(), in.begin(), in.end());
  const std::size_t done = take({held_.data(), held_.size()}, false, out);
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(done));
}

void Masker::release(std::string& out) {
  if (held_.size() > kMostReleased || released_ == held_.size()) return;
  out.append(held_.data() + released_, held_.size() - released_);
  released_ = held_.size();
}

void Masker::finish(std::string& out) {
  take({held_.data(), held_.size()}, true, out);
  held_.clear();
}

bool mask(const MaskTable& table, std::string& text) {
  if (table.next_candidate(text, 0) == text.size()) return false;
  // The table lives as long as this call.
  Masker masker(std::shared_ptr<const MaskTable>(std::shared_ptr<void>(), &table));
  std::string masked;
  masker.feed(text, masked);
  masker.finish(masked);
  if (masker.changed()) text = std::move(masked);
  return masker.changed();
}

}  // namespace pinhole::secret
