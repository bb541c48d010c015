// SPDX-License-Identifier: Apache-2.0
// What a file really is, by its first bytes: the cause of most machines that "just hang".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::preflight {

/// "an HTML page", "a qcow2 disk image", "gzip-compressed data", …; "unknown data" where nothing is
/// recognised. `head` is the file's beginning, 1 KiB is enough.
std::string_view identify(std::string_view head);

/// Whether the second sector of `head` (1 KiB) is a GPT header that its checksum agrees with. Then the file is a raw disk,
/// whatever its first bytes say: they are boot code, which a guest may have written to look like another format.
bool has_valid_gpt(std::string_view head);

/// A disk to boot from as raw bytes: a regular file of whole sectors that has a valid GPT, or at least a GPT and nothing of
/// another format. This is for the user who named the wrong file; what the disk is read as, the plan decides alone.
/// `path` has its links resolved: a link here is an error.
Result<void> check_raw_disk(const std::filesystem::path& path);

}  // namespace pinhole::preflight
