// SPDX-License-Identifier: Apache-2.0
#include "policy/limits.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace pinhole::policy {
namespace {

constexpr std::uint64_t kMostPerUnit = 1'000'000'000;  // products of two rates stay in 64 bits

struct Unit {
  std::string_view name;
  std::chrono::seconds length;
};
constexpr Unit kUnits[] = {{"s", std::chrono::seconds(1)},
                           {"min", std::chrono::minutes(1)},
                           {"h", std::chrono::hours(1)},
                           {"day", std::chrono::hours(24)}};

}  // namespace

std::optional<Rate> parse_rate(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto count = parse_u64(text.substr(0, slash));
  if (!count || *count == 0 || *count > kMostPerUnit) return std::nullopt;
  for (const Unit& unit : kUnits) {
    if (text.substr(slash + 1) == unit.name) return Rate{.count = *count, .per = unit.length};
  }
  return std::nullopt;
}

std::string to_string(const Rate& rate) {
  for (const Unit& unit : kUnits) {
    if (unit.length == rate.per) return fmt::format("{}/{}", rate.count, unit.name);
  }
  return fmt::format("{} per {} s", rate.count, rate.per.count());
}

Rate slower(const Rate& a, const Rate& b) {
  const auto per = [](const Rate& rate) { return static_cast<std::uint64_t>(rate.per.count()); };
  return b.count * per(a) < a.count * per(b) ? b : a;
}

}  // namespace pinhole::policy
