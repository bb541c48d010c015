// SPDX-License-Identifier: Apache-2.0
// The difference itself, as diff -u shows it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "review/changes.h"
#include "review/tree.h"

namespace pinhole::review {

struct DiffLimits {
  std::size_t lines = 20'000;
  std::uint64_t bytes = 16 << 20;  // and at most the rest of one file's line more
};

/// Of the changes at or below one of `paths` (none: of all): a line that says what each is, and of texts the difference.
/// What is no text, or larger than a review reads of a file, is one line that says so. The last line says why it is not
/// all, where it is not. The lines hold the guest's bytes.
std::vector<std::string> diff_lines(const Tree& folder, const Tree& upper, const Changes& changes,
                                    const std::vector<std::string>& paths,
                                    const DiffLimits& most = {});

}  // namespace pinhole::review
