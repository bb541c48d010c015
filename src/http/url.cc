// SPDX-License-Identifier: Apache-2.0
#include "http/url.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::http {
namespace {

constexpr std::string_view kHexDigits = "0123456789ABCDEF";

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
/// RFC 3986 §2.3
bool is_unreserved(char c) { return is_alnum(c) || std::string_view("-._~").contains(c); }
/// What may stand in a path segment as it is: pchar of RFC 3986 §3.3 without "%".
bool is_segment_character(char c) {
  return is_unreserved(c) || std::string_view("!$&'()*+,;=:@").contains(c);
}
/// Refused in every encoding: some servers stop at them, some skip them, some take "\" for "/".
bool is_treacherous(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == '\\';
}

std::optional<int> hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// The byte that the two digits at `at` stand for.
std::optional<char> encoded_byte(std::string_view text, std::size_t at) {
  if (at + 2 > text.size()) return std::nullopt;
  const auto high = hex_value(text[at]);
  const auto low = hex_value(text[at + 1]);
  if (!high || !low) return std::nullopt;
  return static_cast<char>(*high * 16 + *low);
}

void append_encoded(std::string& out, char c) {
  out += '%';
  out += kHexDigits[static_cast<unsigned char>(c) >> 4];
  out += kHexDigits[static_cast<unsigned char>(c) & 15];
}

std::unexpected<Fault> bad_path(std::string_view why) {
  return fault(kInvalidUrl, 400, "the path holds {}", why);
}

/// Takes the character or encoding at `at` into `out`; returns how many bytes it was.
Parsed<std::size_t> take_character(std::string_view path, std::size_t at, std::string& out) {
  const char c = path[at];
  if (c == '/' || is_segment_character(c)) {
    out += c;
    return 1;
  }
  if (c != '%') {
    if (is_treacherous(c)) return bad_path(fmt::format("\"{}\"", printable(path.substr(at, 1))));
    if (static_cast<unsigned char>(c) >= 0x80) return bad_path("a byte that is not ASCII");
    if (c == '#' || c == '?' || c == ' ') return bad_path(fmt::format("\"{}\"", c));
    append_encoded(out, c);
    return 1;
  }
  const auto byte = encoded_byte(path, at + 1);
  if (!byte) return bad_path("a \"%\" that two hexadecimal digits do not follow");
  const std::string_view spelled = path.substr(at, 3);
  if (is_treacherous(*byte)) return bad_path(fmt::format("\"{}\"", spelled));
  if (is_unreserved(*byte)) {
    out += *byte;
  } else {
    append_encoded(out, *byte);
  }
  return 3;
}

/// `segment` is decoded. Some servers cut ";parameters" off before they look for dots.
bool is_dot_segment(std::string_view segment) {
  segment = segment.substr(0, segment.find(';'));
  return segment == "." || segment == "..";
}

std::string decode(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = text[at] == '%' ? encoded_byte(text, at + 1) : std::nullopt;
    out += byte ? *byte : text[at];
    if (byte) at += 2;
  }
  return out;
}

/// Whether a server that decodes more than once finds something in `path`, which is normalised, that
/// is refused or means something else in every path: what the digits behind a "%25" spell, however
/// those are spelled themselves ("%252e", "%25%32%65", "%2525%32e").
bool is_double_encoding(std::string_view path) {
  constexpr int kMostRounds = 8;
  std::string text = decode(path);
  for (int round = 0; round < kMostRounds; ++round) {
    bool encoded = false;
    for (std::size_t at = text.find('%'); at != std::string::npos; at = text.find('%', at + 1)) {
      const auto byte = encoded_byte(text, at + 1);
      encoded = encoded || byte;
      if (byte && (is_treacherous(*byte) || *byte == '.' || *byte == '/')) return true;
    }
    if (!encoded) return false;
    text = decode(text);
  }
  return true;  // nobody means this
}

Segments segments_of(std::string_view path) {
  Segments segments;
  path.remove_prefix(1);
  for (const std::string_view part : split(path, '/')) segments.push_back(decode(part));
  return segments;
}

// What different servers do to a path before they look at its segments.

std::string with_decoded_slashes(std::string_view path) {
  std::string out(path);
  for (std::size_t at = 0; (at = out.find("%2F", at)) != std::string::npos;)
    out.replace(at, 3, "/");
  return out;
}

std::string without_parameters(std::string_view path) {
  std::string out;
  bool in_parameters = false;
  for (const char c : path) {
    in_parameters = c != '/' && (in_parameters || c == ';');
    if (!in_parameters) out += c;
  }
  return out;
}

std::string with_merged_slashes(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c != '/' || !out.ends_with('/')) out += c;
  }
  return out;
}

/// RFC 3986 §5.2.4, of which only this part reads alike everywhere. apt asks for such paths.
std::string without_inner_dots(std::string_view path) {
  std::string out(path);
  for (std::size_t at = 0; (at = out.find("/./", at)) != std::string::npos;) out.erase(at, 2);
  return out;
}

}  // namespace

std::string_view to_string(Scheme scheme) { return scheme == Scheme::http ? "http" : "https"; }

std::string Url::authority() const {
  const std::string name = host.in_url();
  return port == default_port(scheme) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::path_and_query() const { return has_query ? path + "?" + query : path; }

std::string Url::text() const {
  return fmt::format("{}://{}{}", to_string(scheme), authority(), path_and_query());
}

Parsed<std::string> normalise_path(std::string_view path) {
  if (!path.starts_with('/')) return fault(kInvalidUrl, 400, "the path does not start with \"/\"");
  const std::string plain = without_inner_dots(path);
  std::string out;
  out.reserve(plain.size());
  for (std::size_t at = 0; at < plain.size();) {
    PINHOLE_TRY(const std::size_t length, take_character(plain, at, out));
    at += length;
  }
  if (is_double_encoding(out)) return bad_path("a double encoding (\"%25…\")");
  for (const std::string& segment : segments_of(with_decoded_slashes(out))) {
    if (is_dot_segment(segment)) return bad_path("a \".\" or \"..\" segment");
  }
  return out;
}

Parsed<void> check_query(std::string_view query) {
  for (const char c : query) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F || c == '#') {
      return fault(kInvalidUrl, 400, "the query holds \"{}\"", printable(std::string_view(&c, 1)));
    }
  }
  return {};
}

Parsed<Url> parse_url(std::string_view text) {
  if (text.find('#') != std::string_view::npos) {
    return fault(kInvalidUrl, 400, "the URL holds a fragment (\"#\")");
  }
  const std::size_t colon = text.find("://");
  const std::string scheme = to_lower(text.substr(0, std::min(colon, text.size())));
  Url url;
  if (colon == std::string_view::npos || (scheme != "http" && scheme != "https")) {
    return fault(kInvalidUrl, 400, "\"{}\" does not start with http:// or https://",
                 printable(text, 80));
  }
  url.scheme = scheme == "http" ? Scheme::http : Scheme::https;
  text.remove_prefix(colon + 3);
  const std::size_t end = std::min(text.find_first_of("/?"), text.size());
  PINHOLE_TRY(Authority authority, parse_authority(text.substr(0, end)));
  url.host = std::move(authority.host);
  url.port = authority.port.value_or(default_port(url.scheme));
  text.remove_prefix(end);
  const std::size_t question = text.find('?');
  url.has_query = question != std::string_view::npos;
  if (url.has_query) url.query = text.substr(question + 1);
  PINHOLE_TRY_VOID(check_query(url.query));
  const std::string_view path = text.substr(0, question);
  PINHOLE_TRY(url.path, normalise_path(path.empty() ? "/" : path));
  return url;
}

std::vector<Segments> path_readings(std::string_view normal_path) {
  if (!normal_path.contains("%2F") && !normal_path.contains("//") && !normal_path.contains(';')) {
    return {segments_of(normal_path)};
  }
  std::vector<std::string> paths = {std::string(normal_path)};
  for (const auto& transform : {with_decoded_slashes, without_parameters, with_merged_slashes}) {
    for (std::size_t i = 0, before = paths.size(); i < before; ++i) {
      std::string path = transform(paths[i]);
      if (std::ranges::find(paths, path) == paths.end()) paths.push_back(std::move(path));
    }
  }
  std::vector<Segments> readings;
  for (const std::string& path : paths) readings.push_back(segments_of(path));
  return readings;
}

}  // namespace pinhole::http
