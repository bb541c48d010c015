// SPDX-License-Identifier: Apache-2.0
// Kernels that a machine is given directly (Linux: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst,
// Documentation/admin-guide/efi-stub.rst).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "artifact/machine.h"
#include "artifact/source.h"
#include "base/error.h"

namespace pinhole::artifact {

enum class KernelFormat : std::uint8_t {
  none,
  bzimage,      ///< x86, mostly with an EFI stub
  arm64_image,  ///< mostly with an EFI stub
  gzip_image,   ///< an arm64 Image in gzip
  zboot,        ///< an EFI program that unpacks the kernel (CONFIG_EFI_ZBOOT)
  elf,          ///< vmlinux
};

struct KernelReport {
  KernelFormat format = KernelFormat::none;
  std::string what;                     ///< "a Linux kernel (bzImage)", "an HTML page, …"
  std::optional<Machine> machine = {};  ///< where it is one of ours
  bool has_efi_stub = false;
  std::vector<Error> problems = {};
};
/// Total; reads a few hundred KiB. `name` is how errors call the file.
KernelReport judge_kernel(const Source& source, const std::string& name, Machine machine = kOurs);

/// Of a file, which must be a regular one; links on the way are followed.
Result<void> check_kernel(const std::filesystem::path& path, Machine machine = kOurs);

}  // namespace pinhole::artifact
