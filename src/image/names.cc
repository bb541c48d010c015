// SPDX-License-Identifier: Apache-2.0
#include "image/names.h"

#include <algorithm>

#include "base/printable.h"

namespace pinhole::image {
namespace {

bool alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool allowed(char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; }

}  // namespace

Result<void> check_name(std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return fail(Error{.message = fmt::format("image name \"{}\" {}", printable(name, 80), why),
                      .fix = "use 1 to 64 of a-z 0-9 . _ -, a letter or digit first",
                      .code = "name_invalid"});
  };
  if (name.empty()) return refuse("is empty");
  if (name.size() > kMaxName) return refuse("is longer than 64 characters");
  if (!std::ranges::all_of(name, allowed)) return refuse("holds a character that names may not");
  if (!alphanumeric(name.front())) return refuse("does not start with a letter or digit");
  return {};
}

}  // namespace pinhole::image
