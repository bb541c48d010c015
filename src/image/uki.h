// SPDX-License-Identifier: Apache-2.0
// A unified kernel image: systemd's EFI stub with kernel, initrd and command line as further
// sections (systemd-stub(7), UAPI.5). Sections are appended to the PE file here: objcopy would do
// it too, but leaves it to its caller that no two sections overlap in memory.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::image {

struct UkiParts {
  std::string_view stub;  ///< linuxx64.efi.stub
  std::string_view os_release;
  std::string_view cmdline;
  std::string_view initrd;
  std::string_view kernel;
};

/// The bytes for /EFI/BOOT/BOOTX64.EFI.
Result<std::string> make_uki(const UkiParts& parts);

}  // namespace pinhole::image
