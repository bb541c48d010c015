// SPDX-License-Identifier: Apache-2.0
#include "leftovers/usage.h"

#include <sys/stat.h>

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;

/// A guest may have filled what is counted.
constexpr std::size_t kMostEntries = 1'000'000;

}  // namespace

Usage usage_of(const fs::path& path) {
  Usage out;
  struct stat top{};
  if (::lstat(path.c_str(), &top) != 0) return out;
  out.bytes = static_cast<std::uint64_t>(top.st_blocks) * 512;
  if (!S_ISDIR(top.st_mode)) return out;
  std::error_code error;
  std::size_t entries = 0;
  auto entry = fs::recursive_directory_iterator(path, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    struct stat info{};
    if (++entries > kMostEntries) break;
    if (::lstat(entry->path().c_str(), &info) != 0) continue;
    if (info.st_dev != top.st_dev) {
      entry.disable_recursion_pending();
      continue;
    }
    // A file of several names is one file; half a name each is near enough for a total.
    const std::uint64_t names = S_ISREG(info.st_mode) && info.st_nlink > 1 ? info.st_nlink : 1;
    out.bytes += static_cast<std::uint64_t>(info.st_blocks) * 512 / names;
  }
  out.complete = !error && entries <= kMostEntries;
  return out;
}

std::vector<Kept> kept(const config::Paths& paths) {
  std::vector<Kept> out = {{"images", paths.images, {}},
                           {"VMs", paths.vms, {}},
                           {"caches", paths.state / "caches", {}},
                           {"reviews", paths.state / "reviews", {}},
                           {"quarantine", paths.state / "quarantine", {}},
                           {"audit logs of runs", paths.runs, {}}};
  for (Kept& one : out) one.usage = usage_of(one.path);
  return out;
}

}  // namespace pinhole::leftovers
