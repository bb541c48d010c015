// SPDX-License-Identifier: Apache-2.0
#include "http/request.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/printable.h"
#include "base/strings.h"
#include "http/request_rules.h"

namespace pinhole::http {
namespace {

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

Parsed<Url> proxy_target(std::string_view target) {
  if (target.starts_with('/') || target == "*") {
    return fault(kInvalidUrl, 400,
                 "\"{}\" is not a full URL: this is a proxy, the target is http://host/path",
                 printable(target, 80));
  }
  return parse_url(target);
}

Parsed<void> read_target(RequestHead& head, std::string_view target, const InsideOrigin* inside) {
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

/// RFC 6455 §4.1: without these no origin that means WebSocket agrees.
bool is_websocket_offer(const RequestHead& head) {
  constexpr std::string_view kKey = "sec-websocket-key";
  constexpr std::string_view kVersion = "sec-websocket-version";
  if (count_of(head.headers, kKey) != 1 || count_of(head.headers, kVersion) != 1) return false;
  const std::string_view key = *find_header(head.headers, kKey);  // 16 bytes in base64
  const bool is_key =
      key.size() == 24 && key.ends_with("==") && std::ranges::all_of(key.substr(0, 22), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '+' || c == '/';
      });
  return is_key && *find_header(head.headers, kVersion) == "13";
}

/// RFC 9110 §7.8: an offer may be ignored, and all but WebSocket are: what another protocol carries
/// could be requests that nobody decided on.
Parsed<void> read_upgrade(RequestHead& head) {
  const auto names = [&](std::string_view field, std::string_view value) {
    return std::ranges::any_of(list_values(head.headers, field),
                               [&](std::string_view element) { return iequals(element, value); });
  };
  const bool asks = head.minor_version == 1 && !head.is_connect() &&
                    names("upgrade", "websocket") && names("connection", "upgrade") &&
                    is_websocket_offer(head);
  if (!asks) return {};
  if (head.method != "GET" || head.framing == Framing::chunked || head.content_length > 0) {
    return bad_request("a WebSocket handshake is a GET without a body");
  }
  head.asks_websocket = true;
  return {};
}

Parsed<RequestHead> parse(std::string_view text, const HeadLimits& limits,
                          const InsideOrigin* inside) {
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
  PINHOLE_TRY_VOID(read_upgrade(head));
  const auto options = list_values(head.headers, "connection");
  const bool closes =
      std::ranges::any_of(options, [](std::string_view o) { return iequals(o, "close"); });
  head.keep_alive = head.minor_version == 1 && !closes;
  const auto te = list_values(head.headers, "te");
  head.accepts_trailers =
      head.minor_version == 1 &&
      std::ranges::any_of(te, [](std::string_view t) { return iequals(t, "trailers"); });
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
  const InsideOrigin origin{scheme, host, port};
  return parse(head, limits, &origin);
}

}  // namespace pinhole::http
