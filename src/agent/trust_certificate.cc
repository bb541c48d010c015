// SPDX-License-Identifier: Apache-2.0
#include "agent/trust_certificate.h"

#include <array>

#include <nettle/base64.h>
#include <nettle/sha1.h>

#include <fmt/format.h>

#include "base/strings.h"

namespace pinhole::agent {
namespace {

constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kEnd = "-----END CERTIFICATE-----";

// ASN.1 tags (X.690 §8.1.2).
constexpr std::uint8_t kUtf8 = 0x0C;
constexpr std::uint8_t kPrintable = 0x13;
constexpr std::uint8_t kIa5 = 0x16;
constexpr std::uint8_t kSequence = 0x30;
constexpr std::uint8_t kSet = 0x31;
constexpr std::uint8_t kVersion = 0xA0;

struct Element {
  std::uint8_t tag = 0;
  std::string_view content;
  std::string_view whole;
};

/// Takes one element off the front of `rest`; definite lengths of at most 64 KiB only.
std::optional<Element> take(std::string_view& rest) {
  constexpr unsigned kLong = 0x80;
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(rest[at]); };
  if (rest.size() < 2) return std::nullopt;
  std::size_t length = byte(1);
  std::size_t header = 2;
  if (length >= kLong) {
    const std::size_t count = length - kLong;
    if (count < 1 || count > 2 || rest.size() < 2 + count) return std::nullopt;
    length = 0;
    for (std::size_t i = 0; i < count; ++i) length = length << 8 | byte(2 + i);
    header += count;
  }
  if (rest.size() - header < length) return std::nullopt;
  const Element element{.tag = byte(0),
                        .content = rest.substr(header, length),
                        .whole = rest.substr(0, header + length)};
  rest.remove_prefix(header + length);
  return element;
}

std::optional<std::string_view> take(std::string_view& rest, std::uint8_t tag) {
  const auto element = take(rest);
  if (!element || element->tag != tag) return std::nullopt;
  return element->content;
}

std::optional<std::string> with_header(std::uint8_t tag, std::string_view content) {
  constexpr std::size_t kShort = 128;
  if (content.size() >= kShort) return std::nullopt;  // no name of ours is so long
  return std::string{static_cast<char>(tag), static_cast<char>(content.size())}.append(content);
}

/// OpenSSL's canonical text (crypto/x509/x_name.c, asn1_string_canon): UTF-8, lower case, without
/// blanks at the ends, and one for several in between.
std::string canonical_text(std::string_view text) {
  std::string out;
  for (const char c : to_lower(trim(text))) {
    const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
    if (blank && out.ends_with(' ')) continue;
    out += blank ? ' ' : c;
  }
  return out;
}

std::optional<std::string> canonical_attribute(std::string_view attribute) {
  const auto type = take(attribute);
  const auto value = take(attribute);
  if (!type || !value || !attribute.empty()) return std::nullopt;
  if (value->tag != kUtf8 && value->tag != kPrintable && value->tag != kIa5) return std::nullopt;
  const auto text = with_header(kUtf8, canonical_text(value->content));
  if (!text) return std::nullopt;
  return with_header(kSequence, std::string(type->whole) + *text);
}

/// The first 32 bits, little-endian, of the SHA-1 over the canonical name without its own header.
std::optional<std::string> hash_of_name(std::string_view name) {
  std::string canonical;
  while (!name.empty()) {
    auto set = take(name, kSet);
    if (!set) return std::nullopt;
    const auto attribute = take(*set, kSequence);
    // A set of several would have to be sorted anew.
    if (!attribute || !set->empty()) return std::nullopt;
    const auto inner = canonical_attribute(*attribute);
    const auto outer = inner ? with_header(kSet, *inner) : std::nullopt;
    if (!outer) return std::nullopt;
    canonical += *outer;
  }
  sha1_ctx hash;
  nettle_sha1_init(&hash);
  nettle_sha1_update(&hash, canonical.size(),
                     reinterpret_cast<const std::uint8_t*>(canonical.data()));
  std::array<std::uint8_t, 4> digest;
  nettle_sha1_digest(&hash, digest.size(), digest.data());
  return fmt::format("{:02x}{:02x}{:02x}{:02x}", digest[3], digest[2], digest[1], digest[0]);
}

/// RFC 5280 §4.1: the subject is what follows the validity.
std::optional<std::string_view> subject_of(std::string_view der) {
  auto certificate = take(der, kSequence);
  if (!certificate) return std::nullopt;
  auto body = take(*certificate, kSequence);
  if (!body) return std::nullopt;
  auto element = take(*body);
  if (element && element->tag == kVersion) element = take(*body);  // then the serial number
  for (int i = 0; element && i < 3; ++i) element = take(*body);    // algorithm, issuer, validity
  if (!element) return std::nullopt;
  return take(*body, kSequence);
}

std::optional<std::string> base64_decode(std::string_view text) {
  base64_decode_ctx context;
  nettle_base64_decode_init(&context);
  std::string out(BASE64_DECODE_LENGTH(text.size()), '\0');
  std::size_t size = out.size();
  if (nettle_base64_decode_update(&context, &size, reinterpret_cast<std::uint8_t*>(out.data()),
                                  text.size(), text.data()) != 1 ||
      nettle_base64_decode_final(&context) != 1)
    return std::nullopt;
  out.resize(size);
  return out;
}

}  // namespace

std::optional<Certificate> read_certificate(std::string_view pem) {
  const std::size_t begin = pem.find(kBegin);
  if (begin == std::string_view::npos) return std::nullopt;
  pem.remove_prefix(begin + kBegin.size());
  const std::size_t end = pem.find(kEnd);
  if (end == std::string_view::npos) return std::nullopt;
  Certificate certificate;
  for (const char c : pem.substr(0, end))
    if (c != '\n' && c != '\r') certificate.base64 += c;
  auto der = base64_decode(certificate.base64);
  if (!der) return std::nullopt;
  certificate.der = *std::move(der);
  const auto subject = subject_of(certificate.der);
  if (!subject) return std::nullopt;
  certificate.subject_hash = hash_of_name(*subject);
  return certificate;
}

}  // namespace pinhole::agent
