// SPDX-License-Identifier: Apache-2.0
#include "cli/denials.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/printable.h"

namespace pinhole::cli {

std::vector<audit::DeniedGroup> without_self_tests(std::vector<audit::DeniedGroup> groups) {
  std::erase_if(groups, [](const audit::DeniedGroup& group) {
    // CONNECT's have their port.
    const std::string_view host(group.host);
    return host.substr(0, host.find(':')) == "denied.pinhole.internal";
  });
  return groups;
}

std::vector<std::string> denial_lines(std::span<const audit::DeniedGroup> groups,
                                      std::size_t most) {
  if (groups.empty()) return {};
  std::uint64_t total = 0, shown = 0;
  for (const auto& group : groups) total += group.count;
  std::vector<std::string> lines{fmt::format("refused at the door: {}", total)};
  for (const auto& group : groups.subspan(0, std::min(groups.size(), most))) {
    shown += group.count;
    lines.push_back(fmt::format("  {:>6}  {:<32} {:<18} {}", group.count,
                                printable(group.host.empty() ? "-" : group.host, 60),
                                printable(group.code, 40), printable(group.allow, 200)));
    while (lines.back().ends_with(' ')) lines.back().pop_back();
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
                                         {"code", group.code},
                                         {"rule", group.rule},
                                         {"count", group.count},
                                         {"allow", group.allow}});
  }
  return out;
}

}  // namespace pinhole::cli
