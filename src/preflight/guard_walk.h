// SPDX-License-Identifier: Apache-2.0
// Finds what the host would execute in a workspace (preflight/guard_rules.h). The folder is the guest's to write, so it is
// read through sys/guest_dir.h alone, and within limits: a folder that is too large is looked at from the top down as far
// as they reach, and that is said. The folder's own `.git` comes first, with half of them: a flood in the one place hides
// nothing in the other.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/guest_dir.h"

namespace pinhole::preflight {

struct GuardedName {
  std::string path;  // below the workspace
  std::string why;
  bool read_only = true;
  std::string led_by =
      {};  // the link or git config that leads there; where that is new, it is what is told
  bool operator==(const GuardedName&) const = default;
};

/// One file, folder or link at or below a guarded name.
struct GuardedFile {
  sys::GuestDir::Look look;
  /// SHA-256 of what counts in it: of all of it, or of a git config's lines that can execute something. Empty where it
  /// was not read (too large, not ours to read); then the times count.
  std::string digest;
  bool harmless =
      false;  // git's own plain files: no config that executes, no hook that is executable
  bool operator==(const GuardedFile&) const = default;
};

/// A folder that could not be looked into, while the walk went on elsewhere. A name in it that is known can be used all the
/// same: `.git/modules/x/hooks` needs no list of what is in `x`.
struct GuardGap {
  std::string path;  // below the workspace; "" is itself
  std::string why;   // "cannot be listed"
  bool operator==(const GuardGap&) const = default;
};

/// Where a config of git's or a link leads: what the host executes is there as well. Of the workspace's own it is among the
/// names; of another shared folder, preflight/share_guard.h looks at it.
struct GuardLead {
  std::string to;  // absolute, normal, links in it as they are
  std::string by;  // below the workspace: the config or link
  bool operator==(const GuardLead&) const = default;
};
inline constexpr std::size_t kMostLeads = 4'000;

struct GuardScan {
  std::vector<GuardedName> names =
      {};  // .git's, then from the top of the folder down; each is in `files`
  std::map<std::string, GuardedFile> files = {};  // by path
  std::vector<GuardGap> gaps = {};
  std::vector<GuardLead> leads = {};  // with more_leads, no part of guard.json
  bool more_leads = false;            // than kMostLeads
  /// Why the walk stopped; empty where it came to its end (but for `gaps`).
  std::string incomplete = {};
};

bool is_at_or_below(std::string_view path, std::string_view name);

/// Whether something could have been there and not have been seen.
bool may_have_missed(const GuardScan& scan, std::string_view path);

/// Why not everything was looked at, one sentence each, foreign names in them as they are; empty when it was. Of many gaps
/// the first ones.
std::vector<std::string> shortfalls(const GuardScan& scan);

inline constexpr std::size_t kMostGaps = 200;

struct WalkLimits {
  std::size_t entries = 500'000;   // names in all folders together
  std::size_t names = 2'000;       // guarded ones; each is a mount
  std::size_t files = 20'000;      // at or below guarded names
  std::uint64_t bytes = 64 << 20;  // read of them
  std::size_t text =
      16 << 20;  // bytes of all paths and links' targets, so that guard.json can be read again
  std::chrono::milliseconds time = std::chrono::seconds(5);
};

/// `known_as`: where programs find the folder, and settings name what is in it, if that is elsewhere.
Result<GuardScan> scan_workspace(const std::filesystem::path& folder, const WalkLimits& limits = {},
                                 const std::filesystem::path& known_as = {});

}  // namespace pinhole::preflight
