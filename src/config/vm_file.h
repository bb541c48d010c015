// SPDX-License-Identifier: Apache-2.0
// The `vm:` part of a pinhole.yaml. The rest of the file is the policy's (policy/policy.h).
//
//   version: 1
//   vm:
//     image: base            # or  disk: path/to/disk.raw
//     cpus: 2
//     memory: 2GiB
//     boot: efi              # auto (default), efi, direct: docs/boot.md
//     workspace: .           # the folder of this file, or one below it
//     read_only: true        # the workspace: the guest cannot write to it
//     cache: [npm, pip]      # volumes that are kept: docs/workspace.md
//     user_data: seed.yaml   # cloud-init user-data
//     guard: strict          # off, warn (default), strict: docs/workspace.md
//   egress: …
//
// Paths (disk, workspace, user_data) are relative to the file's folder and may not leave it: the
// guest can write there, links too, so preflight resolves them before it believes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/guard_level.h"
#include "config/share.h"

namespace pinhole::config {

/// How the machine starts; `automatic` is direct where the image can do that and nobody gave
/// user-data, which takes cloud-init.
enum class BootWish { automatic, efi, direct };
/// "auto", "efi" or "direct"; nothing else.
std::optional<BootWish> parse_boot_wish(std::string_view text);

/// What a file or the flags ask for; nothing where they are silent.
struct VmRequest {
  std::optional<std::string> image;
  std::optional<std::string> disk;
  std::optional<unsigned> cpus;
  std::optional<std::uint64_t> memory_mib;
  std::optional<BootWish> boot;
  std::optional<std::string> workspace;
  std::optional<bool> read_only;  // the workspace
  std::optional<std::string> user_data;
  std::optional<GuardLevel> guard;
  /// Beside the workspace; flags' alone, since a project's file reaches no further than its folder.
  std::vector<ShareWish> shares = {};
  std::vector<CacheWish> caches = {};
  /// Whether a path above is a project file's word, which reaches no further than its folder; a
  /// flag's may name anything.
  bool disk_from_project = false;
  bool workspace_from_project = false;
  bool user_data_from_project = false;
};

/// A file of people; more is a mistake.
inline constexpr std::uint64_t kLargestConfigFile = 1 << 20;

/// Reads and checks the `vm:` part; every other top-level key is left to the policy.
Result<VmRequest> parse_vm_request(std::string_view text, std::string_view source);

/// `flags` where they say something, else `file`; whose word each path is goes with it.
VmRequest merged(VmRequest flags, const VmRequest& file);

}  // namespace pinhole::config
