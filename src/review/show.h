// SPDX-License-Identifier: Apache-2.0
// The difference itself, as diff -u shows it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "review/changes.h"
#include "review/tree.h"

namespace pinhole::review {

/// Of the changes at or below one of `paths` (none: of all), at most `most` lines. What is no text, or larger than a
/// review reads of a file, is one line that says so. The lines hold the guest's bytes.
Result<std::vector<std::string>> diff_lines(const Tree& folder, const Tree& upper,
                                            const Changes& changes,
                                            const std::vector<std::string>& paths,
                                            std::size_t most);

}  // namespace pinhole::review
