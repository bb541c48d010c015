// SPDX-License-Identifier: Apache-2.0
// The files of one log. `audit.jsonl` grows; at a size it is renamed to `audit.jsonl.N`, N one more
// than the largest there is, and a new `audit.jsonl` continues sequence and chain. So the order is
// audit.jsonl.1, .2, …, audit.jsonl, and no name ever means another file. Renamed and not yet
// followed (a kill in between), or followed by an empty file, is a log like any other.
// Rejected: .1 as the newest (each rotation renames every file, and a kill leaves half of it done).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace pinhole::audit {

struct LogFiles {
  std::filesystem::path current;       // may be missing
  std::vector<std::uint64_t> numbers;  // of the files before it, ascending
  std::uint64_t bytes_before = 0;      // of these together
  /// Nothing else is in the folder: it is there for this log.
  bool own_folder = true;

  [[nodiscard]] std::filesystem::path numbered(std::uint64_t number) const;
  /// Oldest first, `current` last where it exists.
  [[nodiscard]] std::vector<std::filesystem::path> in_order() const;
};

/// What is beside `current`, which is the path that the writer was given.
Result<LogFiles> find_files(const std::filesystem::path& current);

}  // namespace pinhole::audit
