// SPDX-License-Identifier: Apache-2.0
// VmPlan: everything that decides what one boot of a VM is, resolved and immutable. Made by
// preflight from flags and files, written to the VM's folder (plan.json), read by the supervisor.
//
// JSON, not YAML: it is written and read by us only, and a second YAML writer would be one more
// thing to trust. The user's own words (pinhole.yaml) are copied beside it, byte for byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/guard_level.h"
#include "config/share.h"
#include "source/secret_source.h"

namespace pinhole::config {

enum class Accelerator { tcg, kvm };
enum class DiskFormat { raw, qcow2 };
std::string_view to_string(Accelerator accelerator);
std::string_view to_string(DiskFormat format);

/// A disk and what our records say it is: a disk's own bytes never decide its format.
struct Disk {
  std::filesystem::path path;
  DiskFormat format = DiskFormat::raw;
  bool operator==(const Disk&) const = default;
};

/// OVMF, as QEMU's firmware descriptors name it. Both files are raw.
struct Firmware {
  std::filesystem::path code;
  std::filesystem::path vars_template;
  bool operator==(const Firmware&) const = default;
};

/// Who works in a directly booted guest (wire/hello.h).
struct GuestUser {
  std::string name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool operator==(const GuestUser&) const = default;
};

/// A boot without firmware: QEMU loads the kernel, the agent is the guest's first process, and there
/// is no cloud-init, so that what it would do for the machine stands here.
struct DirectBoot {
  std::filesystem::path kernel;
  std::filesystem::path initrd;  // the image's modules, and the agent
  std::string cmdline;
  std::string hostname;
  GuestUser user;
  bool operator==(const DirectBoot&) const = default;
};

/// A policy file that was copied to the VM's folder, and whose word it is.
struct PolicyLayer {
  std::string layer;  // "user", "project", "session"
  std::filesystem::path path;
  std::string name;  // how messages call it: "pinhole.yaml"
  bool operator==(const PolicyLayer&) const = default;
};

struct VmPlan {
  std::string name;
  std::string image;            // "base"; empty with a disk of the user's own
  std::string image_sha256;     // of the base disk's content, from its manifest
  Disk disk;                    // what the guest writes
  std::optional<Disk> backing;  // read-only, below an overlay
  std::optional<Disk> tools;  // read-only, raw: the agent, for an image that could not be given it
  Firmware firmware;          // nothing in it with `direct`
  std::optional<DirectBoot> direct;
  std::filesystem::path qemu;
  std::filesystem::path virtiofsd;  // empty without a share
  Accelerator accelerator = Accelerator::tcg;
  std::string accelerator_reason;  // "KVM is present but a kernel hangs under it"
  unsigned cpus = 1;
  std::uint64_t memory_mib = 1024;
  std::uint32_t cid = 3;
  std::string instance_id;
  /// In the order in which the guest mounts them; at most kMostShares.
  std::vector<Share> shares;
  bool workspace_markers = false;
  GuardLevel guard = GuardLevel::warn;
  std::vector<PolicyLayer> policy;
  /// What the policy names beside hosts: the files of its `ca:`, which the PEP has to see.
  std::vector<std::filesystem::path> ca_files;
  std::vector<source::SecretSource> secrets;
  /// URLs that the guest fetches through the door when it boots; the first proves the door.
  std::vector<std::string> fetches;
  /// A VM of `pinhole run`: gone with its command. Where that was killed, the next one removes it.
  bool ephemeral = false;
  /// Connections of the guest's programs are carried to the door, with no word of theirs.
  bool capture = true;
  /// The share at /workspace; nullptr without one.
  [[nodiscard]] const Share* workspace() const;
  bool operator==(const VmPlan&) const = default;
};

std::string to_json(const VmPlan& plan);
/// Strict: a missing, unknown or mistyped member is an error, and so is a newer version.
Result<VmPlan> parse_vm_plan(std::string_view text);

}  // namespace pinhole::config
