// SPDX-License-Identifier: Apache-2.0
// The table of what is looked at. A row is independent of the others: what it needs to know it finds out itself, in a
// process of its own that has a deadline (doctor/examine.h), so that whatever is missing, broken or hangs on this host is
// one finding and never the end of the rest.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/paths.h"
#include "doctor/diagnosis.h"
#include "sys/user.h"

namespace pinhole::doctor {

namespace fs = std::filesystem;

/// What rows start from. Tests give other folders and users.
struct Facts {
  fs::path root = "/";  // of etc, proc, sys and dev, where a row reads them
  sys::User user = {};
  config::Paths paths = {};
  std::map<std::string, std::string> environment = {};
};
/// Of this process. An error where the user is in no user database: without a home nothing has a place.
Result<Facts> gather_facts();

using Findings = std::vector<Diagnosis>;  // empty names; in order of weight

struct Row {
  std::string_view name;
  Findings (*run)(const Facts& facts);
  /// Mends what it found and marked `fixable`; says what was done, a line each.
  std::vector<std::string> (*fix)(const Facts& facts) = nullptr;
  std::chrono::milliseconds deadline = std::chrono::seconds(10);
};

/// In the order in which they are shown. The files are groups: machine, kernel, tools, folders, state.
std::span<const Row> machine_rows();
std::span<const Row> kernel_rows();
std::span<const Row> tool_rows();
std::span<const Row> folder_rows();
std::span<const Row> state_rows();
std::vector<Row> all_rows();

/// Runs the row here; its name is put to what it found.
RowReport run_row(const Row& row, const Facts& facts, bool fix);

/// A file below facts.root, without its last line break; nothing where it cannot be read.
std::string text_in(const Facts& facts, std::string_view path);

}  // namespace pinhole::doctor
