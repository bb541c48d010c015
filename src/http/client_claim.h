// SPDX-License-Identifier: Apache-2.0
// What the guest's agent says of the program whose connection it carries, in the field
//
//   Pinhole-Client: program="curl"; uid=1000; pid=123
//
// written as the parameters of RFC 8941 §3.1.2: program is a string, the others are integers, each at
// most once and in any order. It is the guest's word: good for the log, for no decision. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/header.h"

namespace pinhole::http {

inline constexpr std::string_view kClientClaimField = "pinhole-client";  // lower case
inline constexpr std::size_t kLongestClientClaim = 256;
inline constexpr std::size_t kLongestProgramName = 64;

struct ClientClaim {
  std::string program;  ///< printable ASCII; empty: not said
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> pid = {};
  bool operator==(const ClientClaim&) const = default;
};

/// Nothing where the value is not written exactly like that.
std::optional<ClientClaim> parse_client_claim(std::string_view value);

/// Of a request; nothing without the field, with several, or with a malformed one.
std::optional<ClientClaim> client_claim(std::span<const Header> headers);

}  // namespace pinhole::http
