// SPDX-License-Identifier: Apache-2.0
// The system on an imported disk: found, grown, and prepared for a machine without a network device. Inner header of import.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "artifact/disk.h"
#include "base/error.h"
#include "image/build_steps.h"
#include "image/manifest.h"
#include "image/step.h"

namespace pinhole::image {

struct RootOptions {
  std::string file;                    ///< as messages call what is imported
  const artifact::DiskReport& report;  ///< of out()/disk.raw
  std::uint64_t size = 0;              ///< that the disk gets
  std::string_view agent;              ///< the program
  std::function<void()> growing = {};  ///< told when that begins
  std::function<void()> preparing = {};
};

struct RootResult {
  Imported imported;        ///< layout, boot, root, prepared and shortfall
  bool has_kernel = false;  ///< out()/vmlinuz was written
  bool has_tools = false;   ///< out()/tools.iso was written
};

Result<RootResult> prepare_root(const Staging& staging, const RootOptions& options,
                                const StepContext& context);

/// What a boot loader is, by the marks that it carries for Secure Boot (SBAT) and the names of its sections.
std::string_view boot_loader(std::string_view efi_program);

}  // namespace pinhole::image
