// SPDX-License-Identifier: Apache-2.0
// The programs that build an image: confined to the files of their step, their output read line by line, under a deadline,
// and stopped at once when the user gives up. Where the host has no user namespaces, what is left of the confinement
// applies (sys/host_confinement.h); steps that need mapped ids fail there.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sys/file_view.h"

namespace pinhole::image {

/// What a running step needs from its caller.
struct StepContext {
  int cancel_fd = -1;  ///< borrowed; readable means: stop. -1: never
  std::function<void(std::string_view line)> on_line = {};
  /// Asked again and again while a step runs, every kWatchEvery: an error stops the step, and is what it ends with.
  std::function<Result<void>()> watch = {};
};
inline constexpr std::chrono::milliseconds kWatchEvery{50};

struct Step {
  std::string doing;              ///< for errors: "fill the root file system"
  std::string program;            ///< found by sys::find_program
  std::vector<std::string> args;  ///< without argv[0]
  /// What it may see besides itself and the libraries: source and target. It has no network and sees no other process.
  std::vector<sys::Visible> sees = {};
  /// Run as id 0 of its user namespace, where 0 is the caller and the rest are the caller's subordinate ids. Whatever
  /// the step leaves running ends with it.
  bool as_mapped_root = false;
  /// resize2fs asks what is mounted before it changes anything: it sees its own mounts, in /proc.
  bool sees_mounts = false;
  /// mmdebstrap alone, which fetches packages and sets up a root of its own: the host's files and network.
  bool unconfined = false;
  std::filesystem::path temporary = {};  ///< TMPDIR; the staging folder
  std::chrono::minutes limit = std::chrono::minutes(5);
};

/// An error holds the last lines that the program wrote. Code "cancelled" and status 130 after
/// cancel_fd.
Result<void> run_step(const Step& step, const StepContext& context);

}  // namespace pinhole::image
