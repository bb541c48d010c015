// SPDX-License-Identifier: Apache-2.0
// Host names, addresses, paths and URLs: one spelling for each, and nothing in it that a server, a
// log or a resolver could take for something else. The first byte chooses the reader.
#include "http/url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "http/address.h"
#include "http/host.h"

namespace pinhole::http {
namespace {

bool is_visible_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F; });
}

void check_host(const Host& host) {
  PINHOLE_CHECK(!host.name.empty() && host.name.size() <= 253 && is_visible_ascii(host.name));
  PINHOLE_CHECK(host.name == to_lower(host.name) && !host.name.ends_with('.'));
  const auto again = normalise_host(host.in_url());
  PINHOLE_CHECK(again && *again == host && again->ip == host.ip);
  if (host.ip) {
    PINHOLE_CHECK(to_string(*host.ip) == host.name && parse_ip(host.name) == host.ip);
    return;
  }
  // What is a name to us must not be an address to a resolver.
  in_addr ignored;
  PINHOLE_CHECK(inet_aton(host.name.c_str(), &ignored) == 0);
  PINHOLE_CHECK(!parse_ip(host.name) && host.name.find_first_of("/\\@:?#[]%") == std::string::npos);
  for (const std::string_view label : split(host.name, '.'))
    PINHOLE_CHECK(!label.empty() && label.size() <= 63);
}

void read_host(std::string_view text) {
  const auto host = normalise_host(text);
  if (!host) return;
  check_host(*host);
  const auto lower = normalise_host(to_lower(text));
  PINHOLE_CHECK(lower && *lower == *host);
}

void read_authority(std::string_view text) {
  const auto authority = parse_authority(text);
  if (!authority) return;
  check_host(authority->host);
  std::string written = authority->host.in_url();
  if (authority->port) written += fmt::format(":{}", *authority->port);
  const auto again = parse_authority(written);
  PINHOLE_CHECK(again && again->host == authority->host && again->port == authority->port);
}

/// The same path with its character at `at` percent-encoded.
std::string with_encoded(std::string_view path, std::size_t at) {
  std::string out(path.substr(0, at));
  out += fmt::format("%{:02x}", static_cast<unsigned char>(path[at]));
  return out.append(path.substr(at + 1));
}

void check_path(std::string_view normal) {
  PINHOLE_CHECK(normal.starts_with('/') && is_visible_ascii(normal));
  PINHOLE_CHECK(normal.find_first_of("\\?# \"<>`{}|^") == std::string_view::npos);
  const auto again = normalise_path(normal);
  PINHOLE_CHECK(again && *again == normal);
  const auto readings = path_readings(normal);
  PINHOLE_CHECK(!readings.empty() && readings.size() <= 8);
  for (const Segments& segments : readings) {
    PINHOLE_CHECK(!segments.empty() && segments.size() <= normal.size());
    for (const std::string& segment : segments) {
      PINHOLE_CHECK(segment != "." && segment != "..");
      PINHOLE_CHECK(std::ranges::none_of(segment, [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == '\\';
      }));
      // A server that decodes a second time must find no way up either.
      const auto twice = normalise_path("/" + segment);
      if (twice) continue;
      PINHOLE_CHECK(!segment.contains("%2e") && !segment.contains("%2E"));
    }
  }
}

void read_path(std::string_view text) {
  const auto path = normalise_path(text);
  if (!path) return;
  PINHOLE_CHECK(path->size() <= 3 * text.size());
  check_path(*path);
  // Unreserved characters mean the same in either spelling (RFC 3986 §6.2.2.2).
  for (std::size_t at = 1; at < path->size() && at < 64; ++at) {
    const char c = (*path)[at];
    const bool in_encoding =
        (at >= 1 && (*path)[at - 1] == '%') || (at >= 2 && (*path)[at - 2] == '%');
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || std::string_view("-._~").contains(c);
    if (in_encoding || !unreserved) continue;
    const auto same = normalise_path(with_encoded(*path, at));
    PINHOLE_CHECK(same && *same == *path);
  }
}

void read_url(std::string_view text) {
  const auto url = parse_url(text);
  if (!url) return;
  check_host(url->host);
  check_path(url->path);
  PINHOLE_CHECK(url->port != 0 && is_visible_ascii(url->text()));
  PINHOLE_CHECK(check_query(url->query).has_value());
  const auto again = parse_url(url->text());
  PINHOLE_CHECK(again && again->text() == url->text() && again->host == url->host);
  PINHOLE_CHECK(again->scheme == url->scheme && again->port == url->port);
  PINHOLE_CHECK(again->path == url->path && again->query == url->query);
}

void check_class(const IpAddress& address) {
  const AddressClass found = classify(address);
  PINHOLE_CHECK(!found.name.empty() && found.is_public == (found.name == "public"));
  PINHOLE_CHECK(parse_ip(to_string(address)) == address);
  if (address.is_v6) return;
  // No IPv6 spelling of an IPv4 address is a way around its class.
  IpAddress mapped = IpAddress::v6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF});
  IpAddress nat64 = IpAddress::v6({0, 0x64, 0xFF, 0x9B});
  IpAddress six_to_four = IpAddress::v6({0x20, 0x02});
  std::copy_n(address.bytes.begin(), 4, mapped.bytes.begin() + 12);
  std::copy_n(address.bytes.begin(), 4, nat64.bytes.begin() + 12);
  std::copy_n(address.bytes.begin(), 4, six_to_four.bytes.begin() + 2);
  for (const IpAddress& other : {mapped, nat64, six_to_four})
    PINHOLE_CHECK(!classify(other).is_public);
  const std::uint8_t first = address.bytes[0];
  if (first == 0 || first == 10 || first == 127 || first >= 224) PINHOLE_CHECK(!found.is_public);
}

void read_address(std::string_view text) {
  if (const auto address = parse_ip(text)) check_class(*address);
  if (const auto endpoint = parse_endpoint(text)) {
    PINHOLE_CHECK(endpoint->port != 0 && parse_endpoint(to_string(*endpoint)) == *endpoint);
    check_class(endpoint->address);
  }
  if (text.size() == 4) {
    IpAddress address;
    std::copy_n(text.begin(), 4, address.bytes.begin());
    check_class(address);
  }
  if (text.size() == 16) {
    IpAddress address{.is_v6 = true};
    std::copy_n(text.begin(), 16, address.bytes.begin());
    check_class(address);
  }
}

}  // namespace
}  // namespace pinhole::http

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pinhole::http;
  pinhole::fuzz::Input input(data, size);
  const std::uint8_t reader = input.byte();
  const std::string_view text = input.rest();
  switch (reader) {
    case 'h':
      read_host(text);
      break;
    case 'a':
      read_authority(text);
      break;
    case 'i':
      read_address(text);
      break;
    case 'u':
      read_url(text);
      break;
    default:
      read_path(text);
      break;
  }
  return 0;
}
