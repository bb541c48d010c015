// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <cstdint>
#include <ctime>

#include "base/strings.h"

namespace pinhole {

using std::chrono::milliseconds;
using std::chrono::system_clock;

std::string format_time(system_clock::time_point time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<milliseconds>(time - day));
  // By hand: every audit record has one of these, and fmt takes longer than all the rest of it.
  std::string text = "0000-00-00T00:00:00.000Z";
  const auto put = [&text](std::size_t last, std::size_t digits, auto value) {
    for (auto rest = static_cast<std::uint64_t>(value); digits > 0; --digits, rest /= 10)
      text[last--] = static_cast<char>('0' + rest % 10);
  };
  put(3, 4, static_cast<int>(date.year()));
  put(6, 2, static_cast<unsigned>(date.month()));
  put(9, 2, static_cast<unsigned>(date.day()));
  put(12, 2, clock.hours().count());
  put(15, 2, clock.minutes().count());
  put(18, 2, clock.seconds().count());
  put(22, 3, clock.subseconds().count());
  return text;
}

std::string now_text() { return format_time(system_clock::now()); }

std::optional<system_clock::time_point> parse_time(std::string_view text) {
  // Fixed positions: 0123-56-89T12:45:78[.012]Z
  if ((text.size() != 20 && text.size() != 24) || text[4] != '-' || text[7] != '-' ||
      text[10] != 'T' || text[13] != ':' || text[16] != ':' || text.back() != 'Z' ||
      (text.size() == 24 && text[19] != '.')) {
    return std::nullopt;
  }
  const auto number = [&](std::size_t at, std::size_t length) {
    return parse_u64(text.substr(at, length));
  };
  const auto year = number(0, 4), month = number(5, 2), day = number(8, 2);
  const auto hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  const auto fraction = text.size() == 24 ? number(20, 3) : 0;
  if (!year || !month || !day || !hour || !minute || !second || !fraction) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + milliseconds(*fraction);
}

}  // namespace pinhole
