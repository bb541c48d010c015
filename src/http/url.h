// SPDX-License-Identifier: Apache-2.0
// URLs in one normal form: what is decided on is what is sent upstream.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/fault.h"
#include "http/host.h"

namespace pinhole::http {

enum class Scheme { http, https };

std::string_view to_string(Scheme scheme);
constexpr std::uint16_t default_port(Scheme scheme) { return scheme == Scheme::http ? 80 : 443; }

struct Url {
  Scheme scheme = Scheme::https;
  Host host;
  std::uint16_t port = 443;
  std::string path = "/";  ///< normalise_path() made it
  std::string query;       ///< without the "?"; bytes as given, checked
  bool has_query = false;

  /// host[:port], the port only where it is not the scheme's: the Host header to send.
  [[nodiscard]] std::string authority() const;
  /// path[?query]: the request target to send. libcurl needs CURLOPT_PATH_AS_IS to leave it alone.
  [[nodiscard]] std::string path_and_query() const;
  [[nodiscard]] std::string text() const;
};

/// http://… or https://…; no fragment, no userinfo. An empty path is "/".
Parsed<Url> parse_url(std::string_view text);

/// One spelling per path: percent-encoded unreserved characters are decoded, other encodings get
/// upper-case digits, characters that need encoding get it, "/./" becomes "/". Refused as
/// invalid_url, because servers differ about them: other `.` and `..` segments in any encoding (also
/// with `;parameters`), backslashes,
/// control characters and NUL, bytes over 0x7F, broken percent-encodings, double encodings of any
/// of these. Doubled and encoded slashes and ";parameters" are
/// kept as they are; see path_readings().
Parsed<std::string> normalise_path(std::string_view path);

/// Refuses controls, spaces, "#" and bytes over 0x7F.
Parsed<void> check_query(std::string_view query);

/// Segments of a path, percent-decoded: "/a/b/" is {"a", "b", ""}.
using Segments = std::vector<std::string>;

/// The ways in which servers read a path that normalise_path() returned: as it is; with "%2F" as a
/// slash; without ";parameters"; with doubled slashes merged; and these together. One for nearly
/// all paths, at most eight. A request is allowed only if every reading is, and denied if one is.
std::vector<Segments> path_readings(std::string_view normal_path);

}  // namespace pinhole::http
