// SPDX-License-Identifier: Apache-2.0
// The checksum of a file that is imported, as its publisher gives it. Inner header of import.cc.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::image {

/// A list of checksums is at most this long.
inline constexpr std::uint64_t kMaxSums = std::uint64_t{4} << 20;

/// 64 hexadecimal digits in either case, as lower case; nothing where it is no SHA-256.
std::optional<std::string> parse_sha256(std::string_view text);

/// The checksum of the file `name` in a list as GNU coreutils' sha256sum writes it: text mode ("HEX  name"), binary mode
/// ("HEX *name"), --tag ("SHA256 (name) = HEX"), with its escapes (a line that starts with a backslash has \\, \n and \r in its
/// name). Folders before the name do not count; other lines (a signature around it) are passed over. Nothing where no line names
/// the file, or two give it different checksums.
std::optional<std::string> find_sha256(std::string_view sums, std::string_view name);

}  // namespace pinhole::image
