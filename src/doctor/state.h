// SPDX-License-Identifier: Apache-2.0
// What the rows about images judge by.
#pragma once

#include <optional>

#include "doctor/diagnosis.h"
#include "image/store.h"

namespace pinhole::doctor {

/// Why no VM should be started on it. Quick: of a disk that was touched, no more than some 256 MiB are hashed.
std::optional<Diagnosis> image_problem(const image::Listed& listed);

}  // namespace pinhole::doctor
