// SPDX-License-Identifier: Apache-2.0
#include "artifact/files.h"

#include <fcntl.h>

#include "sys/pinned_path.h"

namespace pinhole::artifact {

Result<Fd> open_to_judge(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path resolved = std::filesystem::canonical(path, error);
  if (error) return fail("cannot open {}: {}", path.string(), error.message());
  return sys::open_pinned_file(resolved, O_RDONLY);
}

Result<void> first_of(std::vector<Error> problems) {
  constexpr std::size_t kMostDetails = 8;
  if (problems.empty()) return {};
  Error error = std::move(problems.front());
  for (std::size_t i = 1; i < problems.size() && error.details.size() < kMostDetails; ++i)
    error.details.push_back("also: " + problems[i].message);
  return fail(std::move(error));
}

}  // namespace pinhole::artifact
