// SPDX-License-Identifier: Apache-2.0
// Who may use a door that listens where every user of the host can connect: whoever shows its token,
// with each request to the proxy itself (RFC 9110 §11.7).
//
//   Proxy-Authorization: Basic base64(anything:TOKEN)      what clients make of http://x:TOKEN@host
//   Proxy-Authorization: Bearer TOKEN                      RFC 6750 §2.1
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/sha256.h"
#include "http/header.h"
#include "http/request.h"
#include "pep/answer.h"
#include "pep/audit_log.h"

namespace pinhole::pep {

struct Door;

/// Only a digest of the token is kept, and digests are what is compared: in a time that tells
/// neither how much of a guess was right nor how long the token is.
class ProxyToken {
 public:
  static constexpr std::size_t kShortest = 16;
  static constexpr std::size_t kLongest = 1024;

  /// Printable ASCII without blanks, kShortest to kLongest bytes.
  static Result<ProxyToken> make(std::string_view token);
  /// Out of a regular file of this user's that nobody else may open; a line end at its end is left
  /// out.
  static Result<ProxyToken> read(const std::filesystem::path& file);

  /// True where there is exactly one Proxy-Authorization field, and it shows the token.
  [[nodiscard]] bool is_shown_by(std::span<const http::Header> headers) const;

 private:
  explicit ProxyToken(const Sha256Digest& digest) : digest_(digest) {}

  Sha256Digest digest_;
};

/// The refusal, written down, of a request to the proxy itself that does not show the door's token.
/// Nothing where it does, or where the door asks for none. The record holds nothing that the
/// sender chose: such refusals are all alike, and their number cannot fill the log.
std::optional<Refusal> ask_for_token(Door& door, const http::RequestHead& head, RequestNote& note);

}  // namespace pinhole::pep
