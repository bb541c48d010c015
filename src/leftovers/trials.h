// SPDX-License-Identifier: Apache-2.0
// Folders in which doctor tries something, which a doctor that was killed leaves.
#pragma once

#include <chrono>
#include <filesystem>
#include <string_view>
#include <vector>

#include "config/paths.h"

namespace pinhole::leftovers {

/// Of their names; six letters and digits follow (mkdtemp(3)).
inline constexpr std::string_view kTrialPrefix = "pinhole-doctor-";
/// No row of doctor takes that long (doctor/row.h).
inline constexpr std::chrono::minutes kTrialAge{30};

/// $TMPDIR, or /tmp.
std::filesystem::path temporary_folder();

/// Such folders of this user's that are old enough, wherever doctor makes them: in Pinhole's folders, in those above them
/// (where Pinhole's own are not there yet), and in the temporary one.
std::vector<std::filesystem::path> old_trials(const config::Paths& paths,
                                              std::chrono::system_clock::time_point now);

}  // namespace pinhole::leftovers
