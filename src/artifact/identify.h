// SPDX-License-Identifier: Apache-2.0
// What a file really is, by its bytes: the cause of most machines that "just hang".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "artifact/source.h"

namespace pinhole::artifact {

enum class Compression : std::uint8_t { gzip, xz, zstd, bzip2, lz4, lzma };
std::string_view to_string(Compression compression);
/// By the first bytes, as the kernel and the usual tools tell them.
std::optional<Compression> compression_of(std::string_view head);

/// "an HTML page, most likely a saved error page", "a qcow2 disk image", "xz-compressed data", …; "unknown data" where nothing
/// is recognised. `head` is the file's beginning; 1 KiB is enough for all that stand at its beginning.
std::string_view identify(std::string_view head);

/// The same for a whole file: also what stands further in (an ISO) or at the end (a fixed VHD), and whether it is empty or a hole.
std::string identify(const Source& source);

/// Bytes that this begins with, for a person: printable ones as they are. `6d 6f 76 65 ("move")`.
std::string first_bytes(std::string_view head);

}  // namespace pinhole::artifact
