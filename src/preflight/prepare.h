// SPDX-License-Identifier: Apache-2.0
// From words to a VmPlan: everything that can be checked before a machine starts is checked here,
// and only then is anything written. An error in the checks changes nothing. One while writing
// takes a new VM away again and leaves an old one its disk, plan and policies; its seed may be the
// new one by then (the next `up` makes it again), and its EFI variables fresh where that was asked
// for.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "config/paths.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "preflight/direct_boot.h"
#include "preflight/policy_files.h"

namespace pinhole::preflight {

/// The image that the VM's disk is an overlay of.
struct BaseImage {
  std::string name;
  std::filesystem::path disk;    // raw
  std::filesystem::path kernel;  // for the KVM probe
  std::string sha256;            // of the disk, from the manifest
  std::optional<DirectImage> direct = {};
  std::optional<std::filesystem::path> tools = {};  // a raw disk with the agent (image/import.h)
  bool imported = false;                            // not built from a recipe
};

enum class AcceleratorWish { automatic, tcg, kvm };

struct PrepareOptions {
  std::string name;
  config::VmRequest request;  // flags and files, merged; relative paths below `folder`
  std::filesystem::path folder = ".";
  std::optional<BaseImage> image;  // unless request.disk
  Policies policies;
  bool workspace_explicit = false;
  bool markers = true;
  bool reset_efi_vars = false;
  AcceleratorWish accelerator = AcceleratorWish::automatic;
  std::vector<std::string> fetches;
  bool ephemeral = false;  // VmPlan::ephemeral
  bool capture = true;     // VmPlan::capture
  /// Makes the VM's certificate authority in a folder that exists, or checks the one that is there:
  /// its certificate, which the guest is to trust. Without it the guest gets none.
  std::function<Result<std::string>(const std::filesystem::path& folder, const std::string& vm)>
      make_authority = {};
  /// Makes the folder that takes what the guest writes to the workspace (config::Share::overlay), once everything else is
  /// checked, having tried whether this host can do it. Without it the guest writes to the workspace itself.
  std::function<Result<std::filesystem::path>(const std::filesystem::path& workspace,
                                              const std::string& vm)>
      make_review = {};
};

struct Prepared {
  config::VmPlan plan;
  config::VmPaths paths;
  Fd lock;                         // held: give it to the supervisor
  std::vector<Fd> cache_locks;     // use_caches(): keep them until the supervisor has its own
  std::vector<std::string> notes;  // for the user, not errors
};

Result<Prepared> prepare_vm(const config::Paths& paths, const PrepareOptions& options);

}  // namespace pinhole::preflight
