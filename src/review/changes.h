// SPDX-License-Identifier: Apache-2.0
// What a run on an overlay changed: the upper layer against the folder as it is now. The upper layer was the guest's to
// write, the folder is the user's and may have changed meanwhile. Reads both, within limits, and writes neither.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "review/line_diff.h"
#include "review/tree.h"

namespace pinhole::review {

struct Change {
  enum class What {
    created,   // a folder with all that is in it is one change
    changed,   // what is in a file, or where a link leads; the mode perhaps as well
    mode,      // that alone
    replaced,  // by something of another kind
    deleted,   // a folder with all that was in it is one change
    refused,   // is never applied: `problem` says why
  };
  std::string path;  // below the folder, whatever bytes the guest chose
  What what = What::created;
  std::optional<Entry> before, after;
  /// Of a folder: files, links and the rest below it, and the bytes of the files.
  std::uint64_t entries = 0, bytes = 0;
  std::optional<LineCount> lines = {};  // of texts that were not too large
  std::vector<std::string> notes = {};  // "leads out of the folder", "without its setuid bit"
  std::string problem = {};             // refused: why
  /// Since the run began, it changed here too: what. Applied only by force.
  std::string conflict = {};
};
std::string_view to_string(Change::What what);

struct ScanLimits {
  std::size_t entries = 1'000'000;  // of both, together
  std::size_t changes = 50'000;
  int depth = 200;              // folders in each other
  std::size_t refused = 1'000;  // that are named
  std::uint64_t path_bytes =
      32 << 20;  // of all changes' names and links, which go through memory in hexadecimal
  std::uint64_t file_bytes = 1 << 20;   // a larger file's lines are not counted
  std::uint64_t line_bytes = 64 << 20;  // of all files whose lines are counted
  std::chrono::milliseconds line_time = std::chrono::seconds(5);
  std::chrono::milliseconds time = std::chrono::minutes(5);
};

/// Why nothing at this path is ever applied, whatever it is: it is folders too deep, or too long, or a name of ours.
std::optional<std::string> why_never(const std::string& path, const ScanLimits& limits = {});

struct Changes {
  std::vector<Change> list;    // in the order of paths
  std::uint64_t to_write = 0;  // bytes on disk
  /// Why the comparison was given up; empty where it came to its end. What is incomplete is not applied.
  std::string incomplete = {};
  std::int64_t began_ns = 0,
               looked_ns = 0;  // the host's clock: when the run and when the comparison began
};

/// `began_ns`: the host's clock when the run began. What the folder's kernel says has changed after that is a conflict
/// where the guest changed it too; what is equal on both sides is no change, and no conflict.
Changes find_changes(const Tree& folder, const Tree& upper, std::int64_t began_ns,
                     const ScanLimits& limits = {});

}  // namespace pinhole::review
