// SPDX-License-Identifier: Apache-2.0
// Text that people copy into a terminal.
#pragma once

#include <string>
#include <string_view>

namespace pinhole {

/// `text` as one word of a POSIX shell: as it is, or in single quotes. A guest or a file's name may have chosen it.
std::string shell_word(std::string_view text);

}  // namespace pinhole
