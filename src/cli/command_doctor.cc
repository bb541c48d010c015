// SPDX-License-Identifier: Apache-2.0
// pinhole doctor.
#include <algorithm>

#include <boost/json.hpp>

#include "base/printable.h"
#include "cli/app.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "preflight/doctor.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;
using preflight::Diagnosis;
using preflight::Severity;

std::string shown(Severity severity) {
  switch (severity) {
    case Severity::ok:
      return green("ok     ");
    case Severity::weaker:
      return dim("weaker ");
    case Severity::problem:
      return red("PROBLEM");
  }
  return "";
}

json::object to_json(const Diagnosis& row) {
  return {{"name", row.name},
          {"severity", preflight::to_string(row.severity)},
          {"finding", row.finding},
          {"fix", row.fix}};
}

Result<int> doctor(bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const std::vector<Diagnosis> rows = preflight::examine_host(paths);
  const bool healthy = std::ranges::none_of(
      rows, [](const Diagnosis& row) { return row.severity == Severity::problem; });
  if (as_json) {
    json::array checks;
    for (const Diagnosis& row : rows) checks.emplace_back(to_json(row));
    print_json(json::serialize(json::object{{"ok", healthy}, {"checks", std::move(checks)}}));
    return healthy ? 0 : 1;
  }
  for (const Diagnosis& row : rows) {
    print_line(
        fmt::format("{} {:<16} {}", shown(row.severity), row.name, printable(row.finding, 500)));
    if (!row.fix.empty()) print_line("          fix:  " + printable(row.fix, 500));
  }
  return healthy ? 0 : 1;
}

}  // namespace

void add_doctor(Commands& commands) {
  CLI::App& command = commands.add(
      "doctor", "Say what this host has and lacks for running VMs, and how well it confines them",
      "  pinhole doctor\n  pinhole doctor --json");
  auto as_json = std::make_shared<bool>(false);
  command.add_flag("--json", *as_json, "print JSON");
  commands.on(command, [=] { return doctor(*as_json); });
}

}  // namespace pinhole::cli
