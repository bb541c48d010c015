// SPDX-License-Identifier: Apache-2.0
// What the rows about the kernel judge by; inner header of doctor.
#pragma once

#include <string>
#include <string_view>

#include "doctor/row.h"

namespace pinhole::doctor {

/// Why user namespaces are refused, as far as the kernel's settings tell; `refusal` is what the kernel said.
Diagnosis namespaces_diagnosis(const Facts& facts, std::string_view refusal);

/// Whether newuidmap and newgidmap, in one of `folders`, can do what they are for.
Findings id_map_tools(const std::vector<fs::path>& folders);

}  // namespace pinhole::doctor
