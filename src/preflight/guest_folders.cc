// SPDX-License-Identifier: Apache-2.0
#include "preflight/guest_folders.h"

#include <algorithm>
#include <deque>

#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "preflight/project_path.h"
#include "sys/files.h"
#include "sys/guest_dir.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

}  // namespace

GuestFolders GuestFolders::of(const config::Paths& paths, const std::vector<fs::path>& more) {
  GuestFolders out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(paths.vms, error)) {  // open: our own folder
    const auto text = sys::read_file(entry.path() / "plan.json", config::kLargestConfigFile);
    const auto plan = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
    if (!plan) continue;
    for (const config::Share& share : plan->shares) out.folders_.push_back(share.host);
  }
  for (const fs::path& folder : more) {
    fs::path real = fs::canonical(folder, error);
    if (!error) out.folders_.push_back(std::move(real));
  }
  return out;
}

/// As the kernel walks (path_resolution(7)), one name at a time, until a guest's folder is entered.
GuestFolders::Place GuestFolders::locate(const fs::path& path) const {
  constexpr int kMostLinks = 40;  // the kernel's own limit
  std::error_code error;
  const fs::path whole = fs::absolute(path, error).relative_path();
  std::deque<fs::path> rest(whole.begin(), whole.end());
  Place place{.path = "/"};
  for (int links = 0; !rest.empty();) {
    const auto entered = std::ranges::find_if(
        folders_, [&](const fs::path& folder) { return is_inside(place.path, folder); });
    if (entered != folders_.end()) {
      place.beneath = *entered;
      break;
    }
    const fs::path next = place.path / rest.front();
    rest.pop_front();
    const fs::path target = fs::read_symlink(next, error);
    if (error || ++links > kMostLinks) {
      place.path = next.lexically_normal();  // there is no link before ".."
      continue;
    }
    rest.insert(rest.begin(), target.begin(), target.end());
    if (target.is_absolute()) rest.pop_front();
    if (target.is_absolute()) place.path = "/";
  }
  for (const fs::path& part : rest) place.path /= part;
  place.path = place.path.lexically_normal();
  return place;
}

fs::path GuestFolders::resolve(const fs::path& path) const { return locate(path).path; }

Result<std::string> GuestFolders::read(const fs::path& path, std::uint64_t limit) const {
  const Place place = locate(path);
  if (!place.beneath) return sys::read_file(place.path, limit);
  PINHOLE_TRY(const auto folder, sys::GuestDir::open(*place.beneath));
  return folder.read(place.path.lexically_relative(*place.beneath).string(), limit);
}

Result<std::string> read_project_file(const fs::path& file) {
  std::error_code error;
  const fs::path path = fs::absolute(file, error).lexically_normal();
  PINHOLE_TRY(const auto folder, sys::GuestDir::open(path.parent_path()));
  return folder.read(path.filename().string(), config::kLargestConfigFile);
}

}  // namespace pinhole::preflight
