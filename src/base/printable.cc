// SPDX-License-Identifier: Apache-2.0
#include "base/printable.h"

#include <cstdint>

#include <fmt/format.h>

namespace pinhole {
namespace {

struct Decoded {
  std::uint32_t code_point = 0;
  std::size_t length = 0;  // 0: not valid UTF-8 at this position
};

/// One scalar value, shortest form only, no surrogates (Unicode 15, table 3-7).
Decoded decode_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return {};
  std::uint32_t value = first & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(i) & 0x3F);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
    return {};
  return {value, length};
}

/// Characters that change how their neighbours are shown, or are not shown at all.
bool misleading(std::uint32_t c) {
  return (c >= 0x80 && c <= 0x9F) || c == 0xAD || c == 0x061C || c == 0x180E ||
         (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) ||
         (c >= 0xE0000 && c <= 0xE0FFF);
}

std::string shown(std::string_view text, const Decoded& d) {
  if (d.length == 0) return fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
  if (d.code_point == '\n') return "\\n";
  if (d.code_point == '\t') return "\\t";
  if (d.code_point == '\r') return "\\r";
  if (d.code_point < 0x20 || d.code_point == 0x7F) return fmt::format("\\x{:02x}", d.code_point);
  if (misleading(d.code_point)) return fmt::format("\\u{{{:04x}}}", d.code_point);
  return std::string(text.substr(0, d.length));
}

}  // namespace

std::string printable(std::string_view text) { return printable(text, std::string::npos); }

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  while (!text.empty()) {
    const Decoded d = decode_utf8(text);
    const std::string piece = shown(text, d);
    if (out.size() + piece.size() > limit) return out + "…";
    out += piece;
    text.remove_prefix(d.length == 0 ? 1 : d.length);
  }
  return out;
}

}  // namespace pinhole
