// SPDX-License-Identifier: Apache-2.0
#include "agent/shares.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;

}  // namespace

std::vector<wire::Mount> shares_of(const wire::Welcome& welcome, const Settings& settings) {
  std::vector<wire::Mount> shares = welcome.mounts;
  const std::string workspace = settings.workspace.string();
  const bool named = std::ranges::find(shares, workspace, &wire::Mount::path) != shares.end();
  if (welcome.workspace && !named)
    shares.insert(shares.begin(), {.tag = "workspace", .path = workspace});
  return shares;
}

Result<void> make_folders(const fs::path& path) {
  fs::path made = "/";
  for (const fs::path& part : path.relative_path()) {
    struct stat above{};
    if (::stat(made.c_str(), &above) != 0)
      return fail("cannot make {}: {}", path.string(), errno_text(errno));
    made /= part;
    if (::mkdir(made.c_str(), 0755) == 0) {
      [[maybe_unused]] const int given = ::lchown(made.c_str(), above.st_uid, above.st_gid);
    } else if (errno != EEXIST) {
      return fail("cannot make {}: {}", path.string(), errno_text(errno));
    }
  }
  return {};
}

Result<void> mount_share(const wire::Mount& mount) {
  constexpr std::uint64_t kMountsBytes = 1 << 20;
  PINHOLE_TRY(const std::string mounts, sys::read_file("/proc/self/mounts", kMountsBytes));
  for (const std::string_view line : split(mounts, '\n')) {
    const auto fields = split(line, ' ');
    if (fields.size() >= 3 && fields[1] == mount.path && fields[2] == "virtiofs") return {};
  }
  PINHOLE_TRY_VOID(make_folders(mount.path));
  const unsigned long flags = MS_NOSUID | MS_NODEV | (mount.read_only ? MS_RDONLY : 0);
  if (::mount(mount.tag.c_str(), mount.path.c_str(), "virtiofs", flags, nullptr) == 0) return {};
  return fail("cannot mount the folder \"{}\" at {}: {}", mount.tag, mount.path, errno_text(errno));
}

Result<void> make_read_only(const fs::path& path) {
  constexpr unsigned long kFlags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
  if (::mount(nullptr, path.c_str(), nullptr, kFlags, nullptr) == 0) return {};
  return fail("cannot make {} read-only: {}", path.string(), errno_text(errno));
}

}  // namespace pinhole::agent
