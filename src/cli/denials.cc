// SPDX-License-Identifier: Apache-2.0
#include "cli/denials.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <boost/json/value_from.hpp>

#include "base/printable.h"

namespace pinhole::cli {

namespace {

/// The host, with a port that is not the web's.
std::string shown_place(const audit::DeniedGroup& group) {
  if (group.host.empty()) return "-";
  if (group.port == 0 || group.port == 443) return group.host;
  if (group.host.contains(':')) return fmt::format("[{}]:{}", group.host, group.port);
  return fmt::format("{}:{}", group.host, group.port);
}

}  // namespace

std::vector<audit::DeniedGroup> without_self_tests(std::vector<audit::DeniedGroup> groups) {
  std::erase_if(groups, [](const audit::DeniedGroup& group) {
    // CONNECT's have their port.
    const std::string_view host(group.host);
    return host.substr(0, host.find(':')) == "denied.pinhole.internal";
  });
  return groups;
}

std::vector<std::string> denial_lines(std::span<const audit::DeniedGroup> groups, std::size_t most,
                                      Suggest suggest) {
  if (groups.empty()) return {};
  std::uint64_t total = 0, shown = 0;
  for (const auto& group : groups) total += group.count;
  std::vector<std::string> lines{fmt::format("refused at the door: {}", total)};
  for (const auto& group : groups.subspan(0, std::min(groups.size(), most))) {
    shown += group.count;
    const std::string& way =
        suggest == Suggest::flag && !group.flag.empty() ? group.flag : group.allow;
    lines.push_back(fmt::format("  {:>6}  {:<32} {:<18} {}", group.count,
                                printable(shown_place(group), 60), printable(group.code, 40),
                                printable(way, 200)));
    if (!group.programs.empty()) {
      lines.back() += fmt::format(
          "  (by {})", printable(fmt::format("{}", fmt::join(group.programs, ", ")), 100));
    }
    while (lines.back().ends_with(' ')) lines.back().pop_back();
    if (!group.advice.empty()) lines.push_back("          " + printable(group.advice, 200));
  }
  if (groups.size() > most) {
    lines.push_back(fmt::format("  {:>6}  of {} more kinds", total - shown, groups.size() - most));
  }
  return lines;
}

boost::json::array denials_json(std::span<const audit::DeniedGroup> groups) {
  boost::json::array out;
  for (const auto& group : groups) {
    out.emplace_back(boost::json::object{{"host", group.host},
                                         {"port", group.port},
                                         {"code", group.code},
                                         {"rule", group.rule},
                                         {"count", group.count},
                                         {"allow", group.allow},
                                         {"flag", group.flag},
                                         {"programs", boost::json::value_from(group.programs)}});
  }
  return out;
}

}  // namespace pinhole::cli
