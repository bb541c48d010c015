// SPDX-License-Identifier: Apache-2.0
// The text encodings that a secret may pass through.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pinhole::secret {

/// RFC 4648 §4, with padding.
std::string base64_encode(std::string_view bytes);
/// Standard alphabet, padding or none; nothing for anything else.
std::optional<std::string> base64_decode(std::string_view text);

/// RFC 3986: everything but unreserved characters becomes %XX.
std::string percent_encode(std::string_view text);
/// As the inside of a JSON string (RFC 8259 §7); `text` is printable ASCII.
std::string json_escape(std::string_view text);

/// 0 to 15, or -1.
int hex_digit(char c);

}  // namespace pinhole::secret
