// SPDX-License-Identifier: Apache-2.0
// What doctor finds, and how it is written down: a row runs in a process of its own and reports by this.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

#include "base/error.h"

namespace pinhole::doctor {

enum class Severity {
  ok,
  weaker,   // VMs run, with less confinement, less speed or less of what one expects
  problem,  // VMs do not run, or not with everything
};
std::string_view to_string(Severity severity);

struct Diagnosis {
  std::string name;  // of the row; a row with several findings has one of these for each
  Severity severity = Severity::ok;
  std::string code = {};  // of the failure (failures/host.h); empty where all is well
  std::string finding;
  std::vector<std::string> details = {};
  std::string fix = {};
  bool fixable = false;  // `--fix` does it
};

/// What `error` says, as a finding.
Diagnosis diagnosed(Severity severity, Error error);
inline Diagnosis problem(Error error) { return diagnosed(Severity::problem, std::move(error)); }
inline Diagnosis weaker(Error error) { return diagnosed(Severity::weaker, std::move(error)); }
/// The same where `--fix` does it.
Diagnosis fixable(Diagnosis diagnosis);
inline Diagnosis fine(std::string finding) { return {.finding = std::move(finding)}; }

/// {"name", "severity", "code", "finding", "details", "fix", "fixable"}
boost::json::object to_json(const Diagnosis& diagnosis);

/// What a row's process says: {"found": [diagnosis…], "fixed": ["what was done"…]}.
struct RowReport {
  std::vector<Diagnosis> found = {};
  std::vector<std::string> fixed = {};
};
inline constexpr std::size_t kLargestReport = std::size_t{256} << 10;
inline constexpr std::size_t kMostFindings = 100;  // of one row; more are summed up
std::string print_report(const RowReport& report);
Result<RowReport> parse_report(std::string_view text);

}  // namespace pinhole::doctor
