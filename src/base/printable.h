// SPDX-License-Identifier: Apache-2.0
// The one way that foreign text (console lines, server texts, names, paths, agent replies)
// reaches a terminal or a log.
#pragma once

#include <string>
#include <string_view>

namespace pinhole {

/// `text` with everything that could act on a terminal or mislead a reader escaped: C0 and C1
/// controls and DEL as \xNN, bidirectional and zero-width format characters and line separators as
/// \u{NNNN}, bytes that are not UTF-8 as \xNN. Tab and newline are escaped too (\t, \n): the result
/// is one line. A backslash stays as it is, so the result is for eyes, not for parsing back.
std::string printable(std::string_view text);

/// The same, cut at `limit` bytes of output with "…" in place of the rest.
std::string printable(std::string_view text, std::size_t limit);

}  // namespace pinhole
