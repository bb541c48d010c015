// SPDX-License-Identifier: Apache-2.0
#include "audit/files.h"

#include <algorithm>
#include <system_error>

#include "base/strings.h"

namespace pinhole::audit {
namespace fs = std::filesystem;

fs::path LogFiles::numbered(std::uint64_t number) const {
  return current.string() + "." + std::to_string(number);
}

std::vector<fs::path> LogFiles::in_order() const {
  std::vector<fs::path> out;
  for (const std::uint64_t number : numbers) out.push_back(numbered(number));
  std::error_code error;
  if (fs::exists(fs::symlink_status(current, error))) out.push_back(current);
  return out;
}

Result<LogFiles> find_files(const fs::path& current) {
  // Far above what the writer makes; a folder of more is somebody's joke.
  constexpr std::size_t kMostEntries = 100'000;
  LogFiles found{.current = current, .numbers = {}};
  const fs::path folder = current.has_parent_path() ? current.parent_path() : fs::path(".");
  const std::string name = current.filename().string();
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (std::size_t seen = 0; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (++seen > kMostEntries)
      return fail("the folder {} has more than {} entries", folder.string(), kMostEntries);
    const std::string beside = entry->path().filename().string();
    if (beside == name || beside == name + ".torn") continue;
    const std::string_view rest =
        beside.starts_with(name + ".") ? std::string_view(beside).substr(name.size() + 1) : "";
    const auto number = rest.starts_with('0') ? std::nullopt : parse_u64(rest);
    std::error_code ignored;
    if (!number || !fs::is_regular_file(entry->symlink_status(ignored))) {
      found.own_folder = false;
      continue;
    }
    found.numbers.push_back(*number);
    const auto size = entry->file_size(ignored);
    if (!ignored) found.bytes_before += size;
  }
  if (error) return fail("cannot read the folder {}: {}", folder.string(), error.message());
  std::ranges::sort(found.numbers);
  return found;
}

}  // namespace pinhole::audit
