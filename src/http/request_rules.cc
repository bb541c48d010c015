// SPDX-License-Identifier: Apache-2.0
#include "http/request_rules.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::http {

std::unexpected<Fault> bad_request(std::string_view why) {
  return fault(kInvalidRequest, 400, "{}", why);
}

Parsed<void> check_method(std::string_view method, std::size_t limit) {
  if (!is_token(method) || method.size() > limit) {
    return fault(kInvalidMethod, 400, "\"{}\" is not a method", printable(method, 40));
  }
  // Methods are case-sensitive, but not every server knows: "post" must not pass a rule about POST.
  if (std::ranges::any_of(method, [](char c) { return c >= 'a' && c <= 'z'; })) {
    return fault(kInvalidMethod, 400, "method \"{}\" is not in upper case", method);
  }
  return {};
}

Parsed<Url> origin_target(std::string_view target, const InsideOrigin& origin) {
  if (!target.starts_with('/')) {
    return fault(kInvalidUrl, 400, "\"{}\" is not a path", printable(target, 80));
  }
  if (target.contains('#')) return fault(kInvalidUrl, 400, "the URL holds a fragment (\"#\")");
  Url url{.scheme = origin.scheme, .host = origin.host, .port = origin.port};
  const std::size_t question = target.find('?');
  url.has_query = question != std::string_view::npos;
  if (url.has_query) url.query = target.substr(question + 1);
  PINHOLE_TRY_VOID(check_query(url.query));
  PINHOLE_TRY(url.path, normalise_path(target.substr(0, question)));
  return url;
}

std::size_t count_of(const std::vector<Header>& headers, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::count_if(
      headers, [&](const Header& header) { return iequals(header.name, name); }));
}

Parsed<void> check_lookalike(const Header& header) {
  constexpr std::array<std::string_view, 4> kFields = {"host", "connection", "content-length",
                                                       "transfer-encoding"};
  if (!header.name.contains('_')) return {};
  std::string name = header.name;
  std::ranges::replace(name, '_', '-');
  for (const std::string_view field : kFields) {
    if (iequals(name, field)) {
      return fault(kInvalidRequest, 400, "header \"{}\" is easily taken for {}", header.name,
                   field);
    }
  }
  return {};
}

namespace {

/// undici's ProxyAgent (until Node 18's) writes the proxy's own address into a CONNECT's Host. A proxy
/// of ours is on a loopback address, no target of anybody's name is there, and nothing of a CONNECT
/// goes on to anywhere.
bool names_this_proxy(const Authority& authority) {
  if (!authority.host.ip) return authority.host.name == "localhost";
  return classify(*authority.host.ip).name == "loopback";
}

}  // namespace

Parsed<void> check_host(const RequestHead& head) {
  const std::size_t count = count_of(head.headers, "host");
  if (count > 1) return bad_request("more than one Host header");
  if (count == 0) {
    if (head.minor_version == 0 && head.form != Form::origin) return {};
    return bad_request("the Host header is missing");
  }
  const auto authority = parse_authority(*find_header(head.headers, "host"));
  if (!authority) return fault(kInvalidRequest, 400, "Host header: {}", authority.error().detail);
  // Some clients leave the port out of a CONNECT's Host.
  const std::uint16_t assumed = head.is_connect() ? head.url.port : default_port(head.url.scheme);
  if (authority->host == head.url.host && authority->port.value_or(assumed) == head.url.port) {
    return {};
  }
  if (head.is_connect() && names_this_proxy(*authority)) return {};
  return fault(kInvalidRequest, 400, "the Host header says \"{}\" but the target is {}:{}",
               printable(*find_header(head.headers, "host"), 80), head.url.host.in_url(),
               head.url.port);
}

Parsed<void> read_content_length(RequestHead& head) {
  const std::size_t count = count_of(head.headers, "content-length");
  if (count == 0) return {};
  if (head.framing == Framing::chunked) {
    return bad_request("both Content-Length and Transfer-Encoding");
  }
  if (count > 1) return bad_request("more than one Content-Length header");
  const std::string& text = *find_header(head.headers, "content-length");
  constexpr std::size_t kMostDigits = 18;  // fits std::int64_t, which libcurl counts in
  const auto length = text.size() <= kMostDigits ? parse_u64(text) : std::nullopt;
  if (!length) {
    return fault(kInvalidRequest, 400, "Content-Length \"{}\" is not a number of bytes",
                 printable(text, 40));
  }
  head.framing = Framing::length;
  head.content_length = *length;
  return {};
}

Parsed<void> read_expect(RequestHead& head) {
  const std::size_t count = count_of(head.headers, "expect");
  if (count == 0) return {};
  const std::string& value = *find_header(head.headers, "expect");
  if (count > 1 || !iequals(value, "100-continue")) {
    return fault(kInvalidRequest, 400, "Expect \"{}\" is not supported; only 100-continue is",
                 printable(value, 40));
  }
  // RFC 9110 §10.1.1: an HTTP/1.0 client cannot mean it.
  head.expects_continue = head.minor_version == 1;
  return {};
}

}  // namespace pinhole::http
