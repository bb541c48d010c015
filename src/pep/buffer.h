// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace pinhole::pep {

/// Empties `buffer` and frees its memory, which assigning an empty string would keep.
inline void free_buffer(std::string& buffer) { std::string().swap(buffer); }

}  // namespace pinhole::pep
