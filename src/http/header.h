// SPDX-License-Identifier: Apache-2.0
// Header fields (RFC 9110 §5, RFC 9112 §5) and which of them a proxy passes on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/fault.h"

namespace pinhole::http {

struct Header {
  std::string name;   ///< a token, in the sender's spelling
  std::string value;  ///< without leading and trailing blanks; no control characters but tab
  bool operator==(const Header&) const = default;
};

bool is_token(std::string_view text);
/// ASCII only.
bool iequals(std::string_view a, std::string_view b);

/// The value of the first field of that name, or null.
const std::string* find_header(std::span<const Header> headers, std::string_view name);

/// One line without its CRLF: `name: value`. Also for the lines that an upstream answers with.
/// Refused: white space before the colon or at the start (obs-fold), control characters, an empty
/// or wrong name.
Parsed<Header> parse_header_line(std::string_view line);

/// The elements of all fields of that name, as in a comma-separated list (RFC 9110 §5.6.1); no
/// quotes.
std::vector<std::string_view> list_values(std::span<const Header> headers, std::string_view name);

/// The methods, in upper case, that X-HTTP-Method-Override and its like name: some frameworks act
/// on them instead of on the request line, so a decision about the method is about these too.
std::vector<std::string> overriding_methods(std::span<const Header> headers);

/// The fields that go upstream: without hop-by-hop fields (RFC 9110 §7.6.1) and those that
/// Connection names, Proxy-*, and what the sender of the new request sets itself (Host,
/// Content-Length, Transfer-Encoding, Expect).
std::vector<Header> headers_for_upstream(std::span<const Header> request);

/// The fields that go back to the client: without hop-by-hop fields, those that Connection names,
/// Proxy-*, and Content-Length and Transfer-Encoding (the framing of the new answer is the PEP's
/// own).
std::vector<Header> headers_for_client(std::span<const Header> response);

}  // namespace pinhole::http
