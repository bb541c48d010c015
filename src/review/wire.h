// SPDX-License-Identifier: Apache-2.0
// What the process that may read a guest's files (cli/review_worker.cc) says to the one that talks to the user. Names are
// whatever bytes the guest chose, so they are written in hexadecimal.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "review/apply.h"
#include "review/changes.h"

namespace pinhole::review {

std::string to_hex(std::string_view text);
std::optional<std::string> from_hex(std::string_view text);

/// Something among the changes that the host would execute later.
struct Mark {
  std::string path;
  std::string why;
};

struct Report {
  Changes changes;
  std::vector<Mark> marks;        // in the order of paths
  std::vector<std::string> gaps;  // why not everything was looked at for those; printable
};

std::string to_json(const Report& report);
Result<Report> parse_report(std::string_view text);
std::string to_json(const ApplyOutcome& outcome);
Result<ApplyOutcome> parse_outcome(std::string_view text);

/// An answer that a Changes within its limits fits in.
inline constexpr std::size_t kLargestAnswer = std::size_t{256} << 20;

}  // namespace pinhole::review
