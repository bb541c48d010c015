// SPDX-License-Identifier: Apache-2.0
#include "http/request.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::http {
namespace {

/// Who the client thinks it talks to: a proxy, or (inside a tunnel) the origin.
struct Origin {
  Scheme scheme;
  const Host& host;
  std::uint16_t port;
};

std::unexpected<Fault> bad_request(std::string_view why) {
  return fault(kInvalidRequest, 400, "{}", why);
}

/// The lines of the head without their CRLF and without the empty one at the end.
Parsed<std::vector<std::string_view>> lines_of(std::string_view head, std::size_t limit) {
  if (!head.ends_with("\r\n\r\n"))
    return bad_request("the request head does not end with CRLF CRLF");
  head.remove_suffix(2);
  std::vector<std::string_view> lines;
  while (!head.empty()) {
    if (lines.size() > limit) {
      return fault(kConstraintViolation, 431, "more than {} header fields", limit);
    }
    const std::size_t end = head.find('\n');
    const std::string_view line = head.substr(0, end);
    if (!line.ends_with('\r')) return bad_request("a line ends with a bare line feed");
    lines.push_back(line.substr(0, line.size() - 1));
    if (lines.back().contains('\r')) return bad_request("a line holds a bare carriage return");
    if (lines.back().contains('\0')) return bad_request("the request head holds a NUL byte");
    if (lines.back().empty()) return bad_request("an empty line within the request head");
    head.remove_prefix(end + 1);
  }
  return lines;
}

struct RequestLine {
  std::string_view method;
  std::string_view target;
  int minor_version;
};

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

Parsed<RequestLine> split_request_line(std::string_view line, const HeadLimits& limits) {
  const auto parts = split(line, ' ');
  if (parts.size() != 3) {
    return bad_request("the request line is not METHOD, one space, target, one space, version");
  }
  PINHOLE_TRY_VOID(check_method(parts[0], limits.method_bytes));
  if (parts[1].size() > limits.target_bytes) {
    return fault(kConstraintViolation, 431, "the request target is longer than {} bytes",
                 limits.target_bytes);
  }
  if (parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0") {
    return fault(kInvalidRequest, 400, "\"{}\" is not HTTP/1.1 or HTTP/1.0",
                 printable(parts[2], 20));
  }
  return RequestLine{parts[0], parts[1], parts[2].back() == '1' ? 1 : 0};
}

Parsed<Url> connect_target(std::string_view target) {
  PINHOLE_TRY(Authority authority, parse_authority(target));
  if (!authority.port) {
    return fault(kInvalidUrl, 400, "CONNECT needs host:port, \"{}\" has no port",
                 printable(target, 80));
  }
  Url url;
  url.host = std::move(authority.host);
  url.port = *authority.port;
  url.path.clear();
  return url;
}

Parsed<Url> origin_target(std::string_view target, const Origin& origin) {
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

Parsed<Url> proxy_target(std::string_view target) {
  if (target.starts_with('/') || target == "*") {
    return fault(kInvalidUrl, 400,
                 "\"{}\" is not a full URL: this is a proxy, the target is http://host/path",
                 printable(target, 80));
  }
  return parse_url(target);
}

Parsed<void> read_target(RequestHead& head, std::string_view target, const Origin* inside) {
  if (head.method == "CONNECT") {
    if (inside != nullptr) return bad_request("CONNECT within a tunnel");
    head.form = Form::authority;
    PINHOLE_TRY(head.url, connect_target(target));
  } else if (inside != nullptr) {
    head.form = Form::origin;
    PINHOLE_TRY(head.url, origin_target(target, *inside));
  } else {
    head.form = Form::absolute;
    PINHOLE_TRY(head.url, proxy_target(target));
  }
  return {};
}

std::size_t count_of(const std::vector<Header>& headers, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::count_if(
      headers, [&](const Header& header) { return iequals(header.name, name); }));
}

/// CGI turns "-" into "_", so that some servers take these for the fields that they resemble.
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

/// RFC 9112 §3.2: exactly one Host, and it says what the target says.
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
  return fault(kInvalidRequest, 400, "the Host header says \"{}\" but the target is {}:{}",
               printable(*find_header(head.headers, "host"), 80), head.url.host.in_url(),
               head.url.port);
}

Parsed<void> read_transfer_encoding(RequestHead& head) {
  const std::size_t count = count_of(head.headers, "transfer-encoding");
  if (count == 0) return {};
  if (head.minor_version == 0) return bad_request("HTTP/1.0 has no Transfer-Encoding");
  if (count > 1) return bad_request("more than one Transfer-Encoding header");
  const std::string& coding = *find_header(head.headers, "transfer-encoding");
  if (!iequals(coding, "chunked")) {
    return fault(kInvalidRequest, 400, "transfer coding \"{}\" is not supported; only chunked is",
                 printable(coding, 40));
  }
  head.framing = Framing::chunked;
  return {};
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

/// Where this request ends: what request smuggling is about (RFC 9112 §6).
Parsed<void> read_framing(RequestHead& head) {
  PINHOLE_TRY_VOID(read_transfer_encoding(head));
  PINHOLE_TRY_VOID(read_content_length(head));
  const bool has_body = head.framing == Framing::chunked || head.content_length > 0;
  if (has_body && (head.is_connect() || head.method == "TRACE")) {
    return fault(kInvalidRequest, 400, "{} has no body", head.method);
  }
  return {};
}

/// Connection could otherwise take fields away that the decision, or the framing, was made by.
Parsed<void> check_connection(const RequestHead& head) {
  constexpr std::array<std::string_view, 3> kNotToBeNamed = {"host", "content-length",
                                                             "transfer-encoding"};
  for (const std::string_view name : list_values(head.headers, "connection")) {
    if (!is_token(name)) {
      return fault(kInvalidRequest, 400, "the Connection header holds \"{}\"", printable(name, 40));
    }
    for (const std::string_view fixed : kNotToBeNamed) {
      if (iequals(name, fixed)) {
        return fault(kInvalidRequest, 400, "the Connection header names {}", fixed);
      }
    }
  }
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

Parsed<RequestHead> parse(std::string_view text, const HeadLimits& limits, const Origin* inside) {
  if (text.size() > limits.head_bytes) {
    return fault(kConstraintViolation, 431, "the request head is longer than {} bytes",
                 limits.head_bytes);
  }
  PINHOLE_TRY(const auto lines, lines_of(text, limits.headers));
  if (lines.empty()) return bad_request("the request line is missing");
  PINHOLE_TRY(const RequestLine line, split_request_line(lines[0], limits));
  RequestHead head;
  head.method = line.method;
  head.minor_version = line.minor_version;
  for (const std::string_view text_line : std::span(lines).subspan(1)) {
    PINHOLE_TRY(Header header, parse_header_line(text_line));
    PINHOLE_TRY_VOID(check_lookalike(header));
    head.headers.push_back(std::move(header));
  }
  PINHOLE_TRY_VOID(read_target(head, line.target, inside));
  PINHOLE_TRY_VOID(check_host(head));
  PINHOLE_TRY_VOID(check_connection(head));
  PINHOLE_TRY_VOID(read_framing(head));
  PINHOLE_TRY_VOID(read_expect(head));
  const auto options = list_values(head.headers, "connection");
  const bool closes =
      std::ranges::any_of(options, [](std::string_view o) { return iequals(o, "close"); });
  head.keep_alive = head.minor_version == 1 && !closes;
  return head;
}

}  // namespace

Parsed<std::optional<std::size_t>> find_head_end(std::string_view buffer, const HeadLimits& limits,
                                                 std::size_t checked) {
  if (buffer.empty()) return std::nullopt;
  if (buffer[0] == '\x16') {
    return bad_request("this is a TLS handshake; the proxy itself speaks plain HTTP");
  }
  if (!is_token(buffer.substr(0, 1))) {
    return bad_request("this is not an HTTP request");
  }
  // The empty line may have begun in what an earlier call saw. Bare line feeds end a line here too:
  // parsing refuses them, and must get to see them.
  for (std::size_t at = checked > 2 ? checked - 2 : 0; at < buffer.size(); ++at) {
    if (buffer[at] != '\n') continue;
    const std::string_view rest = buffer.substr(at + 1);
    const std::size_t blank = rest.starts_with("\r\n") ? 2 : rest.starts_with('\n') ? 1 : 0;
    if (blank == 0) continue;
    if (at + 1 + blank > limits.head_bytes) break;
    return at + 1 + blank;
  }
  if (buffer.size() >= limits.head_bytes) {
    return fault(kConstraintViolation, 431, "the request head is longer than {} bytes",
                 limits.head_bytes);
  }
  return std::nullopt;
}

Parsed<RequestHead> parse_proxy_request(std::string_view head, const HeadLimits& limits) {
  return parse(head, limits, nullptr);
}

Parsed<RequestHead> parse_tunnel_request(std::string_view head, Scheme scheme, const Host& host,
                                         std::uint16_t port, const HeadLimits& limits) {
  const Origin origin{scheme, host, port};
  return parse(head, limits, &origin);
}

}  // namespace pinhole::http
