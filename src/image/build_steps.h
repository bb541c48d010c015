// SPDX-License-Identifier: Apache-2.0
// The steps of a build, in order, each a function over one staging folder. Inner header of
// build.cc.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/error.h"
#include "image/layout.h"
#include "image/manifest.h"
#include "image/recipe.h"
#include "image/step.h"

namespace pinhole::image {

inline constexpr const char* kEfiStub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The folder that a build works in; what becomes the image is in out().
struct Staging {
  std::filesystem::path folder;
  [[nodiscard]] std::filesystem::path root() const { return folder / "root"; }
  [[nodiscard]] std::filesystem::path files() const { return folder / "files"; }
  [[nodiscard]] std::filesystem::path temporary() const { return folder / "tmp"; }
  [[nodiscard]] std::filesystem::path out() const { return folder / "out"; }
};

/// Lays out the staging folder with the baked files and the agent.
Result<void> stage_content(const Staging& staging, const LoadedRecipe& recipe,
                           const std::filesystem::path& agent);

/// mmdebstrap, into root(). Fills in the archive's date and the packages.
Result<void> unpack_packages(const Staging& staging, const Recipe& recipe,
                             const StepContext& context, Provenance& provenance);

/// Kernel, initrd and, where the recipe names modules for it, direct.cpio into out(): before the content step, which removes the kernel from root().
Result<void> take_boot_files(const Staging& staging, const LoadedRecipe& recipe);

/// Baked files, agent and finish script, into root().
Result<void> apply_content(const Staging& staging, const StepContext& context);

/// out()/disk.raw with both file systems and the partition table.
struct DiskPlan {
  Layout layout;
  DiskIds ids;
  std::string cmdline;
};
Result<void> make_disk(const Staging& staging, const DiskPlan& plan, const StepContext& context);

/// SHA-256, size and time of a finished file, which is made read-only and synced first.
using HashFile = std::function<Result<std::string>(const std::filesystem::path&)>;
Result<FileRecord> record_file(const std::filesystem::path& path, const HashFile& hash = {});

}  // namespace pinhole::image
