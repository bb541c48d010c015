// SPDX-License-Identifier: Apache-2.0
// How much of a disk something takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/paths.h"

namespace pinhole::leftovers {

struct Usage {
  std::uint64_t bytes = 0;  // really taken: holes count nothing
  bool complete =
      true;  // false: not all of it could be looked at (a guest's ids, or too much of it)
};
/// A file, or a folder with all that is in it; follows no link and enters no other file system. Missing is nothing.
Usage usage_of(const std::filesystem::path& path);

/// What Pinhole keeps, by what it is for.
struct Kept {
  std::string_view
      what;  // "images", "VMs", "caches", "reviews", "quarantine", "audit logs of runs"
  std::filesystem::path path;
  Usage usage;
};
std::vector<Kept> kept(const config::Paths& paths);

}  // namespace pinhole::leftovers
