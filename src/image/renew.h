// SPDX-License-Identifier: Apache-2.0
// A new agent in an image that is otherwise what its recipe says: seconds instead of a build. Inner header of build.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "image/build_steps.h"
#include "image/step.h"
#include "image/store.h"

namespace pinhole::image {

/// Copies the files of `old` but its manifest into out(): the disk, which is going to change, as a copy, the others as
/// links to the same read-only files. They share blocks where the file system can.
Result<void> copy_image(const Staging& staging, const Image& old, const StepContext& context);

/// Puts the program `agent` in the place of the one in out()/disk.raw, whose root file system starts at `root_offset`
/// bytes: mode 0755, of root. Nothing is mounted; debugfs(8) writes it, and what it wrote is read back and compared,
/// because its exit status says nothing about that.
Result<void> replace_agent(const Staging& staging, const std::filesystem::path& agent,
                           std::uint64_t root_offset, const StepContext& context);

}  // namespace pinhole::image
