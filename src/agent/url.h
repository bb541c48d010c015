// SPDX-License-Identifier: Apache-2.0
// As much of RFC 3986 as the fetch client needs: taking an http(s) URL apart for a request line,
// and following a redirect. What a URL means is decided behind the door, not here; this only keeps
// a request line one line.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::agent {

struct Url {
  std::string scheme;     // "http" or "https"
  std::string authority;  // host[:port], as it was written
  std::string target;     // path and query, at least "/"; no fragment
  /// What goes into an absolute-form request line.
  [[nodiscard]] std::string text() const { return scheme + "://" + authority + target; }
  bool operator==(const Url&) const = default;
};

/// Visible ASCII only, no user:password@. Errors have the code "invalid_url".
Result<Url> parse_url(std::string_view text);

/// `reference` (a Location header) seen from `base`: RFC 3986, 5.2.
Result<Url> resolve_url(const Url& base, std::string_view reference);

}  // namespace pinhole::agent
