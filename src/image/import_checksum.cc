// SPDX-License-Identifier: Apache-2.0
#include "image/import_checksum.h"

#include <algorithm>

#include "base/strings.h"

namespace pinhole::image {
namespace {

constexpr std::size_t kDigits = 64;

/// What coreutils did to a name that holds a line's end or a backslash.
std::string unescaped(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '\\' || i + 1 == name.size()) {
      out += name[i];
      continue;
    }
    const char next = name[++i];
    out += next == 'n' ? '\n' : next == 'r' ? '\r' : next;
  }
  return out;
}

struct Line {
  std::string name;
  std::string sha256;
};

std::optional<Line> parse_tagged(std::string_view line) {
  constexpr std::string_view kTag = "SHA256 (";
  constexpr std::string_view kMiddle = ") = ";
  if (!line.starts_with(kTag) || line.size() < kTag.size() + kMiddle.size() + kDigits)
    return std::nullopt;
  const std::size_t middle = line.size() - kDigits - kMiddle.size();
  auto hash = parse_sha256(line.substr(line.size() - kDigits));
  if (!hash || line.substr(middle, kMiddle.size()) != kMiddle) return std::nullopt;
  return Line{.name = std::string(line.substr(kTag.size(), middle - kTag.size())),
              .sha256 = *std::move(hash)};
}

std::optional<Line> parse_plain(std::string_view line) {
  if (line.size() < kDigits + 3 || line[kDigits] != ' ') return std::nullopt;
  if (line[kDigits + 1] != ' ' && line[kDigits + 1] != '*') return std::nullopt;
  auto hash = parse_sha256(line.substr(0, kDigits));
  if (!hash) return std::nullopt;
  return Line{.name = std::string(line.substr(kDigits + 2)), .sha256 = *std::move(hash)};
}

std::optional<Line> parse_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const bool escaped = line.starts_with('\\');
  if (escaped) line.remove_prefix(1);
  auto found = parse_tagged(line);
  if (!found) found = parse_plain(line);
  if (found && escaped) found->name = unescaped(found->name);
  return found;
}

}  // namespace

std::optional<std::string> parse_sha256(std::string_view text) {
  std::string lower = to_lower(text);
  const bool good = lower.size() == kDigits && std::ranges::all_of(lower, [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  if (!good) return std::nullopt;
  return lower;
}

std::optional<std::string> find_sha256(std::string_view sums, std::string_view name) {
  std::optional<std::string> found;
  for (const std::string_view text : split(sums, '\n')) {
    const auto line = parse_line(text);
    if (!line) continue;
    const std::size_t slash = line->name.rfind('/');
    const std::string_view last = std::string_view(line->name).substr(slash + 1);
    if (last != name) continue;
    if (found && *found != line->sha256) return std::nullopt;
    found = line->sha256;
  }
  return found;
}

}  // namespace pinhole::image
