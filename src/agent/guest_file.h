// SPDX-License-Identifier: Apache-2.0
// The guest's system files, as the agent changes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::agent {

/// Far above what any of these files has.
inline constexpr std::size_t kGuestFileBytes = std::size_t{8} << 20;

/// Empty where there is none, or none that is worth reading.
std::string guest_file(const std::filesystem::path& file);

/// In place of the old one at once, with its owner and mode, or with 0644; missing folders are made.
/// A link is followed, or gives way to a file. Nothing happens where the content is that already. Without waiting for the
/// disk, which a machine that lives for one command would do for nothing (ext4 writes the content
/// before the name).
enum class Links : std::uint8_t { follow, replace };
Result<void> put_guest_file(const std::filesystem::path& file, std::string_view content,
                            Links links = Links::follow);

}  // namespace pinhole::agent
