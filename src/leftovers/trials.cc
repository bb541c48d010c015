// SPDX-License-Identifier: Apache-2.0
#include "leftovers/trials.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "leftovers/folders.h"
#include "sys/user.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRandom = 6;

bool is_trial_name(std::string_view name) {
  if (!name.starts_with(kTrialPrefix) || name.size() != kTrialPrefix.size() + kRandom) return false;
  return std::ranges::all_of(name.substr(kTrialPrefix.size()), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

bool is_old(const fs::path& path, std::chrono::system_clock::time_point now) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 &&
         std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec) + kTrialAge <= now;
}

std::set<fs::path> places(const config::Paths& paths) {
  std::set<fs::path> out{temporary_folder()};
  for (fs::path folder : {paths.state, paths.images, paths.runtime}) {
    for (; folder.has_relative_path(); folder = folder.parent_path()) out.insert(folder);
  }
  return out;
}

}  // namespace

fs::path temporary_folder() { return sys::env("TMPDIR").value_or("/tmp"); }

std::vector<fs::path> old_trials(const config::Paths& paths,
                                 std::chrono::system_clock::time_point now) {
  std::vector<fs::path> out;
  for (const fs::path& place : places(paths)) {
    for (const std::string& name : names_in(place)) {
      if (is_trial_name(name) && is_ours_alone(place / name) && is_old(place / name, now))
        out.push_back(place / name);
    }
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace pinhole::leftovers
