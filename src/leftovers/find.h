// SPDX-License-Identifier: Apache-2.0
// What crashes, kills and ends of the host left behind: recognised by records and locks, never by what something is called.
// What somebody holds a lock on, or a process of ours still works on, is no leftover.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/boot_record.h"
#include "config/paths.h"

namespace pinhole::leftovers {

enum class Kind {
  boot,            // a boot that nobody ended: its record, its sockets, processes that outlived it
  runtime_folder,  // sockets of a VM that is no more
  ephemeral_vm,    // of a `run` that was killed
  unfinished_vm,   // a folder without a plan: the VM's first start was broken off
  removed_vm,      // a removal that was broken off
  half_written,    // files that a start or a write was about to rename
  staging,         // of an image that was being built, imported or removed
  review,          // a folder of `run --review` with nothing in it that could be applied
  trial,           // folders in which doctor tried something, when it was killed
  image,           // no VM stands on it, and none has for thirty days
};
std::string_view to_string(Kind kind);  // "boot", "runtime folder", …

struct Leftover {
  Kind kind = Kind::boot;
  std::string name;                                     // of the VM, image or review
  std::vector<std::filesystem::path> paths;             // what goes
  std::vector<config::RecordedProcess> processes = {};  // that still run; they are ended
  std::uint64_t bytes = 0;  // really taken by `paths`, as far as one may look
  std::string text;         // a line for people: what it is, and why
};

struct FindOptions {
  std::string vm = {};  // of this VM's folder alone
  bool images = false;  // Kind::image too
  bool sizes = true;    // else `bytes` is 0: counting takes its time
  std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
};

/// An image that nobody has started for so long is unused; a build or an import counts as well.
inline constexpr std::chrono::days kUnusedImage{30};
/// Folders that no lock covers from their first moment on are left alone until they are this old.
inline constexpr std::chrono::seconds kSettled{60};

/// Changes nothing. Sorted by kind, then by name.
Result<std::vector<Leftover>> find(const config::Paths& paths, const FindOptions& options = {});

/// Looks again, under the locks, and removes. False: it is in use by now, or gone. Processes are ended by SIGKILL through
/// pidfds, and only those that are still the recorded ones. An ephemeral VM is refused: that is `pinhole gc`'s, which also
/// keeps its audit log and looks at what its guest left.
Result<bool> remove(const config::Paths& paths, const Leftover& leftover,
                    const FindOptions& options = {});

}  // namespace pinhole::leftovers
