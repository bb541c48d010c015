// SPDX-License-Identifier: Apache-2.0
#include "cli/guard.h"

#include "base/printable.h"
#include "cli/terminal.h"

namespace pinhole::cli {
namespace {

Result<preflight::GuardOutcome> close(const Vm& vm) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(auto outcome, preflight::close_guard(vm.paths.guard_snapshot,
                                                   preflight::quarantine_folder(paths, vm.name)));
  return outcome ? *std::move(outcome) : preflight::GuardOutcome();
}

}  // namespace

preflight::GuardOutcome tell_guard(const Vm& vm) {
  auto outcome = close(vm);
  if (!outcome) {
    print_error(std::move(outcome).error().context(
        "the workspace was not looked at for what this host would execute"));
    return {};
  }
  for (const std::string& line : preflight::guard_lines(*outcome)) print_note(line);
  return *std::move(outcome);
}

boost::json::array guard_json(const preflight::GuardOutcome& outcome) {
  boost::json::array out;
  for (const preflight::GuardFinding& finding : outcome.findings) {
    boost::json::object one{{"path", printable(finding.path)},
                            {"what", std::string(to_string(finding.what))},
                            {"why", finding.why}};
    if (!finding.moved_to.empty()) one["moved_to"] = printable(finding.moved_to.string());
    if (!finding.not_moved.empty()) one["not_moved"] = printable(finding.not_moved);
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace pinhole::cli
