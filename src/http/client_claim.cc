// SPDX-License-Identifier: Apache-2.0
#include "http/client_claim.h"

#include <algorithm>
#include <limits>

#include "base/strings.h"

namespace pinhole::http {
namespace {

/// sf-string (RFC 8941 §3.3.3); `text` is left behind it.
std::optional<std::string> take_string(std::string_view& text) {
  if (!text.starts_with('"')) return std::nullopt;
  std::string out;
  for (std::size_t at = 1; at < text.size(); ++at) {
    char c = text[at];
    if (c == '"') {
      text.remove_prefix(at + 1);
      return out;
    }
    if (c == '\\') {
      if (++at == text.size() || (text[at] != '"' && text[at] != '\\')) return std::nullopt;
      c = text[at];
    }
    if (c < 0x20 || c > 0x7E || out.size() == kLongestProgramName) return std::nullopt;
    out += c;
  }
  return std::nullopt;
}

/// Without a sign and without zeros in front.
std::optional<std::uint32_t> take_number(std::string_view& text) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view digits = text.substr(0, end);
  if (digits.empty() || digits.size() > 10 || (digits.size() > 1 && digits.starts_with('0')))
    return std::nullopt;
  const auto number = parse_u64(digits);
  if (!number || *number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  text.remove_prefix(end);
  return static_cast<std::uint32_t>(*number);
}

template <typename T>
bool set_once(std::optional<T>& place, std::optional<T> value) {
  if (place || !value) return false;
  place = std::move(value);
  return true;
}

}  // namespace

std::optional<ClientClaim> parse_client_claim(std::string_view value) {
  if (value.size() > kLongestClientClaim) return std::nullopt;
  std::optional<std::string> program;
  ClientClaim claim;
  while (true) {
    const std::size_t equals = value.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = value.substr(0, equals);
    value.remove_prefix(equals + 1);
    const bool taken = key == "program" ? set_once(program, take_string(value))
                       : key == "uid"   ? set_once(claim.uid, take_number(value))
                       : key == "pid"   ? set_once(claim.pid, take_number(value))
                                        : false;
    if (!taken) return std::nullopt;
    if (value.empty()) break;
    if (!value.starts_with(';')) return std::nullopt;
    value.remove_prefix(1);
    while (value.starts_with(' ')) value.remove_prefix(1);
  }
  claim.program = std::move(program).value_or("");
  return claim;
}

std::optional<ClientClaim> client_claim(std::span<const Header> headers) {
  const Header* found = nullptr;
  for (const Header& header : headers) {
    if (!iequals(header.name, kClientClaimField)) continue;
    if (found != nullptr) return std::nullopt;
    found = &header;
  }
  return found == nullptr ? std::nullopt : parse_client_claim(found->value);
}

}  // namespace pinhole::http
