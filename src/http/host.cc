// SPDX-License-Identifier: Apache-2.0
#include "http/host.h"

#include <idn2.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::http {
namespace {

constexpr std::size_t kLongestName = 253;  // RFC 1035 §2.3.4 without the trailing dot
constexpr std::size_t kLongestLabel = 63;
constexpr std::size_t kLongestInput = 1024;  // before IDNA, which can only be given so much to do

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}
bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::unexpected<Fault> bad_host(std::string_view host, std::string_view why) {
  return fault(kInvalidUrl, 400, "host \"{}\" {}", printable(host, 80), why);
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using IdnText = std::unique_ptr<std::uint8_t, Free>;

/// UTS 46, nontransitional, to A-labels.
Parsed<std::string> to_ascii(std::string_view original, const std::string& name) {
  std::uint8_t* raw = nullptr;
  const int status =
      idn2_lookup_u8(reinterpret_cast<const std::uint8_t*>(name.c_str()), &raw,
                     IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT | IDN2_USE_STD3_ASCII_RULES);
  const IdnText text(raw);
  if (status != IDN2_OK) {
    return bad_host(original,
                    fmt::format("is not a valid international name: {}", idn2_strerror(status)));
  }
  return std::string(reinterpret_cast<const char*>(text.get()));
}

/// An A-label must be what its own Unicode form turns into; else two spellings would be one name.
Parsed<void> check_a_label(std::string_view original, const std::string& label) {
  std::uint8_t* raw = nullptr;
  const int status =
      idn2_to_unicode_8z8z(label.c_str(), reinterpret_cast<char**>(&raw), IDN2_NONTRANSITIONAL);
  const IdnText text(raw);
  if (status != IDN2_OK) return bad_host(original, "holds a broken \"xn--\" label");
  const std::string unicode(reinterpret_cast<const char*>(text.get()));
  if (is_ascii(unicode)) return bad_host(original, "holds a broken \"xn--\" label");
  const auto again = to_ascii(original, unicode);
  if (!again || *again != label) return bad_host(original, "holds a broken \"xn--\" label");
  return {};
}

Parsed<void> check_label(std::string_view original, std::string_view label) {
  if (label.empty()) return bad_host(original, "has an empty label");
  if (label.size() > kLongestLabel) return bad_host(original, "has a label of over 63 bytes");
  if (label.front() == '-' || label.back() == '-') {
    return bad_host(original, "has a label that starts or ends with \"-\"");
  }
  if (label.starts_with("xn--")) return check_a_label(original, std::string(label));
  return {};
}

/// What inet_aton() and browsers take for a number: the last label decides (WHATWG URL §3.5).
bool is_numeric(std::string_view label) {
  if (label.empty()) return false;
  if (std::ranges::all_of(label, is_digit)) return true;
  return label.starts_with("0x") &&
         label.find_first_not_of("0123456789abcdef", 2) == std::string_view::npos;
}

Parsed<Host> literal_v6(std::string_view original) {
  const std::string_view inner = original.substr(1, original.size() - 2);
  const auto address = parse_ipv6(inner);
  if (!address) return bad_host(original, "is not a valid IPv6 address (zone ids are not allowed)");
  return Host{.name = to_string(*address), .ip = address};
}

Parsed<Host> ascii_host(std::string_view original, std::string name) {
  name = to_lower(name);
  if (name.ends_with('.')) name.pop_back();
  if (name.empty()) return bad_host(original, "is empty");
  if (name.size() > kLongestName) return bad_host(original, "is longer than 253 bytes");
  for (const char c : name) {
    if (c != '.' && !is_name_character(c)) {
      return bad_host(original, fmt::format("holds \"{}\", which no host name does",
                                            printable(std::string_view(&c, 1))));
    }
  }
  const auto labels = split(name, '.');
  if (is_numeric(labels.back())) {
    const auto address = parse_ipv4(name);
    if (!address) {
      return bad_host(original, "looks like an IPv4 address but is not four decimal numbers");
    }
    return Host{.name = name, .ip = address};
  }
  for (const std::string_view label : labels) PINHOLE_TRY_VOID(check_label(original, label));
  return Host{.name = std::move(name), .ip = std::nullopt};
}

}  // namespace

std::string Host::in_url() const { return ip && ip->is_v6 ? "[" + name + "]" : name; }

Parsed<Host> normalise_host(std::string_view text) {
  if (text.empty()) return bad_host(text, "is empty");
  if (text.size() > kLongestInput) return bad_host(text, "is too long");
  if (text.find('\0') != std::string_view::npos) return bad_host(text, "holds a NUL byte");
  if (text.front() == '[' && text.back() == ']' && text.size() > 2) return literal_v6(text);
  if (is_ascii(text)) return ascii_host(text, std::string(text));
  PINHOLE_TRY(std::string ascii, to_ascii(text, std::string(text)));
  return ascii_host(text, std::move(ascii));
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  const auto value = parse_u64(text);
  if (!value || *value == 0 || *value > 65535 || text[0] == '0') return std::nullopt;
  return static_cast<std::uint16_t>(*value);
}

Parsed<Authority> parse_authority(std::string_view text) {
  if (text.find('@') != std::string_view::npos) {
    return fault(kInvalidUrl, 400, "\"{}\" holds a user name; credentials do not belong into a URL",
                 printable(text.substr(text.rfind('@')), 80));
  }
  std::string_view host = text;
  std::optional<std::uint16_t> port;
  const std::size_t bracket = text.rfind(']');
  const std::size_t colon = text.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = parse_port(text.substr(colon + 1));
    if (!port) {
      return fault(kInvalidUrl, 400, "\"{}\" is not a port (1 to 65535)",
                   printable(text.substr(colon + 1), 20));
    }
  }
  PINHOLE_TRY(Host normal, normalise_host(host));
  return Authority{.host = std::move(normal), .port = port};
}

}  // namespace pinhole::http
