// SPDX-License-Identifier: Apache-2.0
// Finds what the host would execute in a workspace (preflight/guard_rules.h). The folder is the guest's to write, so it is
// read through sys/guest_dir.h alone, and within limits: a folder that is too large is looked at from the top down as far
// as they reach, and that is said.
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

struct GuardScan {
  std::vector<GuardedName> names;            // from the top of the folder down
  std::map<std::string, GuardedFile> files;  // by path
  /// Why not everything was looked at; empty when it was.
  std::string incomplete;
};

struct WalkLimits {
  std::size_t entries = 500'000;   // names in all folders together
  std::size_t names = 2'000;       // guarded ones; each is a mount
  std::size_t files = 20'000;      // at or below guarded names
  std::uint64_t bytes = 64 << 20;  // read of them
  std::chrono::milliseconds time = std::chrono::seconds(5);
};

Result<GuardScan> scan_workspace(const std::filesystem::path& folder,
                                 const WalkLimits& limits = {});

}  // namespace pinhole::preflight
