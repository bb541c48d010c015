// SPDX-License-Identifier: Apache-2.0
#include "preflight/host_folders.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/strings.h"
#include "preflight/project_path.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLongestMountinfo = 8 << 20;

/// A space is "\040" there.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view digits = text.substr(i + 1, 3);
    const bool octal = text[i] == '\\' && digits.size() == 3 &&
                       std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '7'; });
    if (!octal) {
      out.push_back(text[i]);
      continue;
    }
    const int value = (digits[0] - '0') * 64 + (digits[1] - '0') * 8 + (digits[2] - '0');
    out.push_back(static_cast<char>(value));
    i += digits.size();
  }
  return out;
}

struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const Identity&) const = default;
};
std::optional<Identity> identity_of(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return Identity{.device = info.st_dev, .inode = info.st_ino};
}

/// `inner` or a folder above it is the very folder `outer`.
bool is_really_inside(fs::path inner, const fs::path& outer) {
  const auto wanted = identity_of(outer);
  if (!wanted) return false;
  for (;; inner = inner.parent_path()) {
    if (identity_of(inner) == wanted) return true;
    if (inner == inner.parent_path()) return false;
  }
}

}  // namespace

Result<HostFolders> HostFolders::read() {
  PINHOLE_TRY(const std::string text, sys::read_file("/proc/self/mountinfo", kLongestMountinfo));
  return HostFolders(text);
}

HostFolders::HostFolders(std::string_view mountinfo) {
  // "36 35 98:0 /root /point options …"
  constexpr std::size_t kDevice = 2, kRoot = 3, kPoint = 4;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const auto words = split(line, ' ');
    if (words.size() <= kPoint || !words[kRoot].starts_with('/')) continue;
    mounts_.push_back({.device = std::string(words[kDevice]),
                       .root = unescaped(words[kRoot]),
                       .point = unescaped(words[kPoint])});
  }
}

/// Where the folder is in its file system, and what is mounted in it.
std::vector<HostFolders::Place> HostFolders::places_of(const fs::path& folder) const {
  std::vector<Place> out;
  const Mount* own = nullptr;
  for (const Mount& mount : mounts_) {
    // Of two at one point the later one is seen.
    if (is_inside(folder, mount.point) &&
        (own == nullptr || mount.point.native().size() >= own->point.native().size()))
      own = &mount;
    if (mount.point != folder && is_inside(mount.point, folder))
      out.push_back({.device = mount.device, .path = mount.root});
  }
  if (own == nullptr) return out;
  const fs::path inner = own->root / folder.lexically_relative(own->point);
  fs::path path = inner.lexically_normal();
  if (path != "/" && !path.has_filename()) path = path.parent_path();
  out.push_back({.device = own->device, .path = std::move(path)});
  return out;
}

bool HostFolders::have_files_in_common(const fs::path& one, const fs::path& other) const {
  if (is_inside(one, other) || is_inside(other, one)) return true;
  if (is_really_inside(one, other) || is_really_inside(other, one)) return true;
  const std::vector<Place> others = places_of(other);
  return std::ranges::any_of(places_of(one), [&](const Place& a) {
    return std::ranges::any_of(others, [&](const Place& b) {
      return a.device == b.device && (is_inside(a.path, b.path) || is_inside(b.path, a.path));
    });
  });
}

}  // namespace pinhole::preflight
