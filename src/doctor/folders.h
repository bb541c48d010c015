// SPDX-License-Identifier: Apache-2.0
// What the rows about folders judge by; inner header of doctor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "doctor/row.h"

namespace pinhole::doctor {

/// `itself`: as sys::make_private_dir() has it where sockets lie and images are built. `links`: VMs run as well where it is a
/// link to a folder of this user's, or open to others.
enum class Reach { itself, links };
/// Of a folder that Pinhole makes its own in: not ours, open to others, shut to us, no folder, or not to be made.
std::optional<Diagnosis> folder_problem(const fs::path& folder, const sys::User& user, Reach reach);

inline constexpr std::size_t kSocketPath = 107;  // sun_path without its end
/// How long a VM's name may be for its sockets to fit below `paths.runtime`; 0: no name is short enough.
std::size_t longest_fitting_name(const config::Paths& paths);

/// Whether what Pinhole needs of a file system holds in `folder`, tried in a folder that disappears again; sockets only
/// where they are kept.
std::optional<Diagnosis> file_system_problem(const fs::path& folder, bool with_sockets);

/// The folder itself, or the nearest above it that is there.
fs::path nearest_existing(fs::path path);

}  // namespace pinhole::doctor
