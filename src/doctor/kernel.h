// SPDX-License-Identifier: Apache-2.0
// What the rows about the kernel judge by; inner header of doctor.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "doctor/row.h"

namespace pinhole::doctor {

/// Why user namespaces are refused, as far as the kernel's settings tell; `refusal` is what the kernel said.
Diagnosis namespaces_diagnosis(const Facts& facts, std::string_view refusal);

/// Whether newuidmap and newgidmap, in one of `folders`, can do what they are for.
Findings id_map_tools(const Facts& facts, const std::vector<fs::path>& folders);

/// The map that a share gets, for real: by newuidmap, with all of the user's ids. What refuses it; nothing where it works,
/// or where there are no ids.
std::optional<Error> map_ids(const sys::User& user);

}  // namespace pinhole::doctor
