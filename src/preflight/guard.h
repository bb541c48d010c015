// SPDX-License-Identifier: Apache-2.0
// The guard of a workspace, from a VM's start to its end: what the host would execute is found and written down before the
// guest can write (and is read-only for the guest, config::VmPlan::guarded), and looked at again when the VM has ended.
// What each level stops, and what none does: docs/workspace.md.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/guard_level.h"
#include "config/paths.h"
#include "preflight/guard_walk.h"

namespace pinhole::preflight {

inline constexpr std::uint64_t kLargestSnapshot = 64 << 20;
inline constexpr std::size_t kLargestRecord = 400;  // of one name, file or gap, without its paths

/// What guard.json holds: the workspace as it was before the guest. A scan within the limits fits in kLargestSnapshot.
struct GuardSnapshot {
  std::filesystem::path folder;
  config::GuardLevel level = config::GuardLevel::warn;
  GuardScan before;
};
std::string to_json(const GuardSnapshot& snapshot);
Result<GuardSnapshot> parse_guard_snapshot(std::string_view text);

/// Something that the host would execute and that was not there, or not so, before.
struct GuardFinding {
  /// `unseen`: the first scan did not see it, and may have missed it. It may be the user's, so it is never moved.
  enum class What { created, changed, unseen };
  std::string path;  // below the workspace; whatever bytes the guest chose
  What what = What::created;
  std::string why;
  std::filesystem::path moved_to = {};  // where it is now
  std::string not_moved = {};           // strict: why it is still there
};
std::string_view to_string(GuardFinding::What what);

/// Pure. In the order of paths. What is gone is no finding.
std::vector<GuardFinding> compare(const GuardScan& before, const GuardScan& after);

/// Moves what was found (in the order of paths) below `quarantine`, at the path that it had; where that is on another file
/// system, or the guest's root owns it, it gets another name in its place. Follows no link, writes nothing over, and nothing
/// into a folder that was moved: what is in it went with it.
void move_to_quarantine(std::vector<GuardFinding>& findings, const sys::GuestDir& workspace,
                        const std::filesystem::path& folder,
                        const std::filesystem::path& quarantine);

/// The names that the guest is to have read-only, from the top of the folder down. Each, and each folder on the way to it,
/// is a mount, of which the kernel has so many (sysctl fs.mount-max); where a guest made more, the rest is left out. The
/// plan, which has them in hexadecimal, is read with a limit (config::kLargestConfigFile).
inline constexpr std::size_t kMostMounts = 5'000;
inline constexpr std::size_t kMostMountBytes = 256 << 10;
std::vector<std::string> read_only_names(const GuardScan& scan, std::size_t most = kMostMounts,
                                         std::size_t most_bytes = kMostMountBytes);

/// The first name that the guest is to have read-only and that is a file with another name (a hard link), by which it may be
/// able to change it; nullptr where there is none.
const GuardedName* name_with_another(const GuardScan& scan);

/// Before a VM starts: scans the folder and writes the snapshot to `file`. Returns what was found, whose names the guest
/// is to have read-only.
Result<GuardScan> open_guard(const std::filesystem::path& folder, config::GuardLevel level,
                             const std::filesystem::path& file);

struct GuardOutcome {
  std::filesystem::path folder;
  std::vector<GuardFinding> findings;
  std::vector<std::string> incomplete;  // why not everything could be looked at, before or after
};
/// After its end: compares, with the level `strict` moves to `quarantine` (made when needed), removes the snapshot.
/// Nothing where there is no snapshot: no workspace, not guarded, or closed already.
Result<std::optional<GuardOutcome>> close_guard(const std::filesystem::path& file,
                                                const std::filesystem::path& quarantine);

/// Each share that the guest can write to has a snapshot of its own: guard.json is the workspace's.
std::filesystem::path guard_snapshot(const config::VmPaths& vm, std::string_view tag);
struct GuardPlace {
  std::filesystem::path snapshot;    // there, while its guard is open
  std::filesystem::path quarantine;  // where what was found is moved: a folder of its own each time
};
/// Of all shares that a VM may have had.
std::vector<GuardPlace> guard_places(const config::Paths& paths, const config::VmPaths& vm_paths,
                                     std::string_view vm);

/// Lines for people; foreign names in them are printable. Empty when there is nothing to tell.
std::vector<std::string> guard_lines(const GuardOutcome& outcome);

}  // namespace pinhole::preflight
