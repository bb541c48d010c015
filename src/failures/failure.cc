// SPDX-License-Identifier: Apache-2.0
#include "failures/failure.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/shell_word.h"

namespace pinhole::failures {
namespace {

enum class For : std::uint8_t { reading, pasting };

bool is_word(std::string_view name) {
  static constexpr auto kWords =
      std::to_array<std::string_view>({"file", "folder", "name", "path", "program", "vm"});
  return std::ranges::find(kWords, name) != kWords.end();
}

class Filler {
 public:
  explicit Filler(std::initializer_list<Named> values) : values_(values), used_(values.size()) {}

  std::string fill(std::string_view text, For use) {
    std::string out;
    for (;;) {
      const std::size_t open = text.find('{');
      out += text.substr(0, open);
      if (open == std::string_view::npos) return out;
      const std::size_t close = text.find('}', open);
      PINHOLE_CHECK(close != std::string_view::npos);
      const std::string_view name = text.substr(open + 1, close - open - 1);
      out += use == For::pasting && is_word(name) ? shell_word(value(name)) : value(name);
      text.remove_prefix(close + 1);
    }
  }

  [[nodiscard]] bool all_used() const { return std::ranges::find(used_, false) == used_.end(); }

 private:
  const std::string& value(std::string_view name) {
    const auto* found = std::ranges::find(values_, name, &Named::name);
    PINHOLE_CHECK(found != values_.end());
    used_[static_cast<std::size_t>(found - values_.begin())] = true;
    return found->value;
  }

  std::initializer_list<Named> values_;
  std::vector<bool> used_;
};

}  // namespace

Error told(const Failure& failure, std::initializer_list<Named> values) {
  Filler filler(values);
  Error error{.message = filler.fill(failure.message, For::reading),
              .fix = filler.fill(failure.fix, For::pasting),
              .code = std::string(failure.code)};
  PINHOLE_CHECK(filler.all_used());
  return error;
}

}  // namespace pinhole::failures
