// SPDX-License-Identifier: Apache-2.0
#include "base/shell_word.h"

namespace pinhole {

std::string shell_word(std::string_view text) {
  // Nothing that a shell gives a meaning to.
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos)
    return std::string(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string(R"('\'')") : std::string(1, c);
  return out + "'";
}

}  // namespace pinhole
