// SPDX-License-Identifier: Apache-2.0
// Small things with text that the standard library lacks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pinhole {

std::vector<std::string_view> split(std::string_view text, char separator);
/// Without leading and trailing space, tab, CR and LF.
std::string_view trim(std::string_view text);
/// ASCII only; other bytes stay.
std::string to_lower(std::string_view text);
/// Lower-case hexadecimal.
std::string hex(std::span<const std::uint8_t> bytes);
/// Decimal digits only, no sign, no space, no overflow.
std::optional<std::uint64_t> parse_u64(std::string_view text);
/// "512", "64KiB", "8MiB", "2GiB" (powers of 1024; also K, M, G, T alone) in bytes.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// "3.2 MiB", for people.
std::string format_size(std::uint64_t bytes);
/// The candidate that is closest to `word` by edit distance, when close enough for "did you mean".
std::optional<std::string> closest(std::string_view word,
                                   std::span<const std::string_view> candidates);

}  // namespace pinhole
