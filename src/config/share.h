// SPDX-License-Identifier: Apache-2.0
// Folders of the host that a guest sees, and the words for them: HOST[:GUEST][:ro].
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::config {

/// The one that programs start in. Its tag is the image's word too (images/base: workspace.mount).
inline constexpr std::string_view kWorkspaceTag = "workspace";
inline constexpr std::string_view kWorkspacePath = "/workspace";

/// Of one VM, the workspace among them. Each is two processes here and a PCI port there.
inline constexpr std::size_t kMostShares = 8;
inline constexpr std::size_t kLongestGuestPath = 200;

struct Share {
  std::string tag;             // virtiofs's: "workspace", "share-1", …; unique in its VM
  std::filesystem::path host;  // absolute, links resolved
  std::string guest;           // valid_guest_path()
  bool read_only = false;
  /// A volume of ours: kept from one run to the next, read by nobody on the host, and not guarded.
  bool cache = false;
  /// Below it: files and folders that the guest may read only (preflight/guard.h). Whatever bytes a
  /// name has.
  std::vector<std::string> guarded = {};
  /// Where what the guest writes goes instead, until the user applies it (review/store.h): a folder with `upper` and `work`
  /// in it. Empty: to the folder itself.
  std::filesystem::path overlay = {};
  [[nodiscard]] bool is_workspace() const { return tag == kWorkspaceTag; }
  bool operator==(const Share&) const = default;
};

/// "share-1" is the first beside the workspace.
std::string share_tag(std::size_t number);

/// What a flag asks for.
struct ShareWish {
  std::string host;   // as it was written
  std::string guest;  // valid_guest_path(); kWorkspacePath where nothing was said
  bool read_only = false;
  bool operator==(const ShareWish&) const = default;
};

/// "data:/data:ro", "data:/data", "data:ro", "data". What stands behind the last colon is the
/// guest's, unless it is "ro" or "rw": then the colon before that one counts.
Result<ShareWish> parse_share_wish(std::string_view word);

/// A volume that is kept from one run to the next.
struct CacheWish {
  std::string name;   // as a VM's name
  std::string guest;  // valid_guest_path(); empty: the usual folders of the tool of that name
  bool operator==(const CacheWish&) const = default;
};
/// "npm", "venv:/home/ana/venv". A name that no tool has needs its path.
Result<CacheWish> parse_cache_wish(std::string_view word);

/// Where such a tool keeps what it has fetched, below the home; each is a volume of its own.
struct CacheFolder {
  std::string_view tool;    // "go"
  std::string_view volume;  // "go-build"
  std::string_view below_home;
};
std::vector<CacheFolder> cache_folders(std::string_view tool);

/// Absolute, printable ASCII, without "." and "..", and nothing that the guest's own system needs:
/// the path without a trailing slash.
Result<std::string> valid_guest_path(std::string_view path);

/// Two places in the guest that are the same, or one inside the other: what is wrong, or nothing.
std::optional<std::string> overlap_problem(const std::vector<std::string>& guest_paths);

/// Whether `path` is `folder` or below it; both without a trailing slash.
bool is_at_or_below(std::string_view path, std::string_view folder);

}  // namespace pinhole::config
