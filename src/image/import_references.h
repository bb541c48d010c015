// SPDX-License-Identifier: Apache-2.0
// Disk images that take content from elsewhere: from the host's other files, that is. Inner header of import.cc.
//
// Sources: QEMU's docs/interop/qcow2.txt; Microsoft's "Virtual Hard Disk Format Specification" 1.0 and [MS-VHDX] 2.6.2.6;
// VMware's "Virtual Disk Format 5.0".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "artifact/disk.h"
#include "artifact/source.h"

namespace pinhole::image {

/// What the image says it needs beside its own bytes: "the backing file \"/etc/passwd\""; nothing where it is whole.
/// `format` is what it was found to be. Total.
std::optional<std::string> outside_reference(const artifact::Source& source,
                                             artifact::DiskFormat format);

/// The size of the disk in it, where the format has it in a header; the file's own size for raw ones.
std::uint64_t claimed_size(const artifact::Source& source, artifact::DiskFormat format);

}  // namespace pinhole::image
