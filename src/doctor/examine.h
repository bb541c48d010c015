// SPDX-License-Identifier: Apache-2.0
// Runs rows in processes of their own, some at once, each under its deadline. Nothing here looks at the host itself, so
// nothing here can hang on it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "doctor/row.h"

namespace pinhole::doctor {

struct ExamineOptions {
  fs::path program;                    // called as: PROGRAM doctor --row NAME [--fix]
  std::vector<std::string> arguments;  // what comes before the row's name: {"doctor", "--row"}
  bool fix = false;
  std::function<void(std::string_view row)> on_wait = {};  // the row that is waited for
  int cancel_fd = -1;  // borrowed; readable: what has not answered yet is given up
};

/// One report for each row, in their order: a row that crashed, hung or said nonsense has that as its finding.
std::vector<RowReport> examine(const std::vector<Row>& rows, const ExamineOptions& options);

}  // namespace pinhole::doctor
