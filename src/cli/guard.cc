// SPDX-License-Identifier: Apache-2.0
#include "cli/guard.h"

#include "base/printable.h"
#include "cli/terminal.h"

namespace pinhole::cli {

std::vector<preflight::GuardOutcome> tell_guard(const Vm& vm) {
  std::vector<preflight::GuardOutcome> outcomes;
  const auto trouble = [](Error error) {
    print_error(std::move(error).context(
        "a shared folder was not looked at for what this host would execute"));
  };
  const auto paths = config::user_paths();
  if (!paths) return trouble(paths.error()), outcomes;
  for (const auto& place : preflight::guard_places(*paths, vm.paths, vm.name)) {
    auto outcome = preflight::close_guard(place.snapshot, place.quarantine);
    if (!outcome) trouble(std::move(outcome).error());
    if (!outcome || !*outcome) continue;
    for (const std::string& line : preflight::guard_lines(**outcome)) print_note(line);
    outcomes.push_back(**std::move(outcome));
  }
  return outcomes;
}

namespace {

void append(boost::json::array& out, const preflight::GuardOutcome& outcome) {
  for (const preflight::GuardFinding& finding : outcome.findings) {
    boost::json::object one{{"folder", printable(outcome.folder.string())},
                            {"path", printable(finding.path)},
                            {"what", std::string(to_string(finding.what))},
                            {"why", finding.why}};
    if (!finding.moved_to.empty()) one["moved_to"] = printable(finding.moved_to.string());
    if (!finding.not_moved.empty()) one["not_moved"] = printable(finding.not_moved);
    out.push_back(std::move(one));
  }
}

}  // namespace

boost::json::array guard_json(const std::vector<preflight::GuardOutcome>& outcomes) {
  boost::json::array out;
  for (const preflight::GuardOutcome& outcome : outcomes) append(out, outcome);
  return out;
}

}  // namespace pinhole::cli
