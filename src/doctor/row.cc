// SPDX-License-Identifier: Apache-2.0
#include "doctor/row.h"

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::doctor {

Result<Facts> gather_facts() {
  Facts facts;
  PINHOLE_TRY(facts.user, sys::current_user());
  PINHOLE_TRY(facts.paths, config::user_paths());
  facts.environment = sys::whole_environment();
  return facts;
}

std::vector<Row> all_rows() {
  std::vector<Row> out;
  for (const auto& group :
       {machine_rows(), kernel_rows(), tool_rows(), folder_rows(), state_rows()})
    out.insert(out.end(), group.begin(), group.end());
  return out;
}

RowReport run_row(const Row& row, const Facts& facts, bool fix) {
  RowReport report;
  if (fix && row.fix != nullptr) report.fixed = row.fix(facts);
  report.found = row.run(facts);
  if (report.found.size() > kMostFindings) report.found.resize(kMostFindings);
  for (Diagnosis& diagnosis : report.found) diagnosis.name = row.name;
  return report;
}

std::string text_in(const Facts& facts, std::string_view path) {
  constexpr std::uint64_t kLargest = 1 << 20;
  const auto text = sys::read_file(facts.root / path, kLargest);
  return text ? std::string(trim(*text)) : std::string();
}

}  // namespace pinhole::doctor
