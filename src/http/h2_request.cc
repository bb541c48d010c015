// SPDX-License-Identifier: Apache-2.0
#include "http/h2_request.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/printable.h"
#include "http/request_rules.h"

namespace pinhole::http {
namespace {

/// The pseudo-header fields of a request (RFC 9113 §8.3.1).
struct Pseudo {
  std::optional<std::string_view> method;
  std::optional<std::string_view> scheme;
  std::optional<std::string_view> authority;
  std::optional<std::string_view> path;

  std::optional<std::string_view>* find(std::string_view name) {
    if (name == ":method") return &method;
    if (name == ":scheme") return &scheme;
    if (name == ":authority") return &authority;
    if (name == ":path") return &path;
    return nullptr;
  }
};

Parsed<void> check_size(std::span<const Header> fields, const HeadLimits& limits) {
  constexpr std::size_t kPerField = 4;  // colon, blank and line end: what it would be in HTTP/1
  std::size_t bytes = 0;
  for (const Header& field : fields) bytes += field.name.size() + field.value.size() + kPerField;
  if (bytes > limits.head_bytes) {
    return fault(kConstraintViolation, 431, "the request head is longer than {} bytes",
                 limits.head_bytes);
  }
  return {};
}

/// RFC 9113 §8.2.1.
Parsed<void> check_value(const Header& field) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  const std::string& value = field.value;
  if (std::ranges::any_of(value, [](char c) {
        return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
      })) {
    return fault(kInvalidRequest, 400, "header \"{}\" holds a control character",
                 printable(field.name, 60));
  }
  if (!value.empty() && (is_blank(value.front()) || is_blank(value.back()))) {
    return fault(kInvalidRequest, 400, "header \"{}\" begins or ends with white space",
                 printable(field.name, 60));
  }
  return {};
}

/// RFC 9113 §8.2.1 and §8.2.2.
Parsed<void> check_name(const Header& field) {
  constexpr std::array<std::string_view, 5> kOfConnections = {
      "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};
  if (!is_token(field.name)) {
    return fault(kInvalidRequest, 400, "\"{}\" is not a header name", printable(field.name, 60));
  }
  if (std::ranges::any_of(field.name, [](char c) { return c >= 'A' && c <= 'Z'; })) {
    return fault(kInvalidRequest, 400, "header \"{}\" is not in lower case",
                 printable(field.name, 60));
  }
  if (std::ranges::find(kOfConnections, field.name) != kOfConnections.end()) {
    return fault(kInvalidRequest, 400, "HTTP/2 has no header \"{}\"", field.name);
  }
  if (field.name == "te" && !iequals(field.value, "trailers")) {
    return fault(kInvalidRequest, 400, "TE \"{}\" is not supported; only trailers is",
                 printable(field.value, 40));
  }
  return check_lookalike(field);
}

Parsed<void> take_pseudo(Pseudo& pseudo, const Header& field) {
  std::optional<std::string_view>* const place = pseudo.find(field.name);
  if (place == nullptr) {
    return fault(kInvalidRequest, 400, "\"{}\" is not a pseudo-header of a request",
                 printable(field.name, 40));
  }
  if (place->has_value()) return fault(kInvalidRequest, 400, "more than one {}", field.name);
  *place = field.value;
  return {};
}

/// RFC 9113 §8.2.3: a client may send each cookie as a field of its own.
void add(std::vector<Header>& headers, const Header& field) {
  if (field.name == "cookie") {
    const auto first = std::ranges::find(headers, field.name, &Header::name);
    if (first != headers.end()) {
      first->value.append("; ").append(field.value);
      return;
    }
  }
  headers.push_back(field);
}

Parsed<Pseudo> split_fields(std::span<const Header> fields, RequestHead& head,
                            const HeadLimits& limits) {
  Pseudo pseudo;
  bool pseudo_over = false;
  for (const Header& field : fields) {
    PINHOLE_TRY_VOID(check_value(field));
    if (field.name.starts_with(':')) {
      if (pseudo_over) {
        return fault(kInvalidRequest, 400, "{} after the header fields", printable(field.name, 40));
      }
      PINHOLE_TRY_VOID(take_pseudo(pseudo, field));
      continue;
    }
    pseudo_over = true;
    PINHOLE_TRY_VOID(check_name(field));
    add(head.headers, field);
    if (head.headers.size() > limits.headers) {
      return fault(kConstraintViolation, 431, "more than {} header fields", limits.headers);
    }
  }
  return pseudo;
}

Parsed<void> read_method(RequestHead& head, const Pseudo& pseudo, bool is_inside,
                         const HeadLimits& limits) {
  if (!pseudo.method) return bad_request(":method is missing");
  PINHOLE_TRY_VOID(check_method(*pseudo.method, limits.method_bytes));
  head.method = *pseudo.method;
  if (head.method != "CONNECT") return {};
  if (is_inside) return bad_request("CONNECT within a tunnel");
  return fault(kInvalidRequest, 501, "CONNECT over HTTP/2 is not offered");
}

Parsed<Scheme> scheme_of(std::string_view text) {
  if (text == "http") return Scheme::http;
  if (text == "https") return Scheme::https;
  return fault(kInvalidUrl, 400, ":scheme \"{}\" is not http or https", printable(text, 20));
}

Parsed<void> read_proxy_target(RequestHead& head, Scheme scheme, std::string_view authority,
                               std::string_view path) {
  PINHOLE_TRY(const Authority to, parse_authority(authority));
  const InsideOrigin origin{
      .scheme = scheme, .host = to.host, .port = to.port.value_or(default_port(scheme))};
  head.form = Form::absolute;
  PINHOLE_TRY(head.url, origin_target(path, origin));
  return {};
}

Parsed<void> read_inside_target(RequestHead& head, Scheme scheme, std::string_view authority,
                                std::string_view path, const InsideOrigin& inside) {
  if (scheme != inside.scheme) {
    return fault(kInvalidRequest, 400, ":scheme is {} within a tunnel for {}", to_string(scheme),
                 to_string(inside.scheme));
  }
  const auto named = parse_authority(authority);
  if (!named) return fault(kInvalidRequest, 400, ":authority: {}", named.error().detail);
  if (named->host != inside.host ||
      named->port.value_or(default_port(inside.scheme)) != inside.port) {
    return fault(kInvalidRequest, 400, ":authority says \"{}\" but the target is {}:{}",
                 printable(authority, 80), inside.host.in_url(), inside.port);
  }
  head.form = Form::origin;
  PINHOLE_TRY(head.url, origin_target(path, inside));
  return {};
}

Parsed<void> read_target(RequestHead& head, const Pseudo& pseudo, const InsideOrigin* inside,
                         const HeadLimits& limits) {
  if (!pseudo.scheme) return bad_request(":scheme is missing");
  if (!pseudo.path) return bad_request(":path is missing");
  if (pseudo.path->size() > limits.target_bytes) {
    return fault(kConstraintViolation, 431, "the request target is longer than {} bytes",
                 limits.target_bytes);
  }
  PINHOLE_TRY(const Scheme scheme, scheme_of(*pseudo.scheme));
  const std::string* const host = find_header(head.headers, "host");
  if (!pseudo.authority && host == nullptr) return bad_request(":authority is missing");
  // A copy: the header fields grow below.
  const std::string authority{pseudo.authority ? *pseudo.authority : std::string_view(*host)};
  if (inside != nullptr) {
    PINHOLE_TRY_VOID(read_inside_target(head, scheme, authority, *pseudo.path, *inside));
  } else {
    PINHOLE_TRY_VOID(read_proxy_target(head, scheme, authority, *pseudo.path));
  }
  if (host == nullptr) {
    head.headers.insert(head.headers.begin(), Header{.name = "host", .value = authority});
  }
  return check_host(head);
}

Parsed<void> read_framing(RequestHead& head, bool end_stream) {
  PINHOLE_TRY_VOID(read_content_length(head));
  if (head.framing == Framing::none && !end_stream) head.framing = Framing::chunked;
  if (end_stream && head.content_length > 0) {
    return fault(kInvalidRequest, 400, "Content-Length is {}, but there is no body",
                 head.content_length);
  }
  const bool has_body = head.framing == Framing::chunked || head.content_length > 0;
  if (has_body && head.method == "TRACE") return bad_request("TRACE has no body");
  return {};
}

}  // namespace

Parsed<RequestHead> request_from_h2(std::span<const Header> fields, bool end_stream,
                                    const InsideOrigin* inside, const HeadLimits& limits) {
  PINHOLE_TRY_VOID(check_size(fields, limits));
  RequestHead head;
  head.minor_version = 1;
  PINHOLE_TRY(const Pseudo pseudo, split_fields(fields, head, limits));
  PINHOLE_TRY_VOID(read_method(head, pseudo, inside != nullptr, limits));
  PINHOLE_TRY_VOID(read_target(head, pseudo, inside, limits));
  PINHOLE_TRY_VOID(read_framing(head, end_stream));
  PINHOLE_TRY_VOID(read_expect(head));
  head.accepts_trailers = find_header(head.headers, "te") != nullptr;
  head.keep_alive = true;
  return head;
}

}  // namespace pinhole::http
