// SPDX-License-Identifier: Apache-2.0
#include "pep/response_head.h"

#include <algorithm>
#include <iterator>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::pep {
namespace {

std::unexpected<Error> upstream_error(std::string message) {
  return std::unexpected(Error{.message = std::move(message), .code = "upstream_error"});
}

std::unexpected<Error> too_large(std::string message) {
  return std::unexpected(Error{.message = std::move(message), .code = "constraint_violation"});
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

Result<bool> ResponseHeadReader::add_line(std::string_view line) {
  if (!started_) {
    head_ = {};
    bytes_ = 0;
  }
  bytes_ += line.size();
  if (bytes_ > byte_limit_)
    return too_large(fmt::format("the origin's headers are over {} bytes", byte_limit_));
  line = without_line_end(line);
  if (!started_) {
    PINHOLE_TRY_VOID(take_status_line(line));
    started_ = true;
    return false;
  }
  if (!line.empty()) {
    PINHOLE_TRY_VOID(take_field(line));
    return false;
  }
  started_ = false;
  PINHOLE_TRY_VOID(judge_framing());
  return true;
}

Result<void> ResponseHeadReader::take_status_line(std::string_view line) {
  // HTTP/1.1 200 OK (RFC 9112 §4); the reason and the space before it may be missing.
  // libcurl spells that of HTTP/2 "HTTP/2 200 ".
  const bool is_h1 = line.starts_with("HTTP/1.0 ") || line.starts_with("HTTP/1.1 ");
  const std::string_view rest = is_h1                         ? line.substr(9)
                                : line.starts_with("HTTP/2 ") ? line.substr(7)
                                                              : std::string_view();
  const auto status = parse_u64(rest.substr(0, 3));
  if (!status || *status < 100 || *status > 599 || (rest.size() > 3 && rest[3] != ' ')) {
    return upstream_error(
        fmt::format("the origin's status line is not HTTP: {}", printable(line, 100)));
  }
  head_.status = static_cast<int>(*status);
  head_.is_h2 = !is_h1;
  for (const char c : rest.substr(std::min<std::size_t>(4, rest.size()))) {
    if (c >= 0x20 && c < 0x7F) head_.reason += c;
  }
  return {};
}

Result<void> ResponseHeadReader::take_field(std::string_view line) {
  if (line.front() == ' ' ||
      line.front() == '\t') {  // obs-fold: a proxy joins the lines (RFC 9112 §5.2)
    if (head_.headers.empty())
      return upstream_error("the origin's first header line starts with a space");
    line = trim(line);
    const auto field = http::parse_header_line("x: " + std::string(line));
    if (!field) return upstream_error("the origin's headers are broken: " + field.error().detail);
    std::string& value = head_.headers.back().value;
    // No blank at either end (http/header.h), where one of the lines says nothing.
    if (!value.empty() && !field->value.empty()) value += ' ';
    value += field->value;
    return {};
  }
  auto field = http::parse_header_line(line);
  if (!field) return upstream_error("the origin's headers are broken: " + field.error().detail);
  if (head_.headers.size() >= kMostHeaders) {
    return too_large(fmt::format("the origin sent more than {} headers", kMostHeaders));
  }
  head_.headers.push_back(*std::move(field));
  return {};
}

Result<void> ResponseHeadReader::judge_framing() {
  for (const auto coding : http::list_values(head_.headers, "transfer-encoding")) {
    if (head_.chunked || !http::iequals(coding, "chunked")) {
      return upstream_error("the origin used a transfer coding other than chunked");
    }
    head_.chunked = true;
  }
  for (const auto text : http::list_values(head_.headers, "content-length")) {
    const auto length = parse_u64(text);
    if (!length || (head_.content_length && *head_.content_length != *length)) {
      return upstream_error("the origin's Content-Length is not one number");
    }
    head_.content_length = length;
  }
  if (head_.chunked && head_.content_length) {
    return upstream_error("the origin sent both Content-Length and Transfer-Encoding");
  }
  return {};
}

ResponseFraming choose_framing(const ResponseHead& head, std::string_view request_method,
                               int guest_minor_version) {
  if (request_method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) {
    return ResponseFraming::none;
  }
  if (head.content_length) return ResponseFraming::length;
  return guest_minor_version == 0 ? ResponseFraming::close : ResponseFraming::chunked;
}

void append_response_head(std::string& out, const ResponseHead& head, const ResponseStyle& style) {
  // Appended piece by piece: this is on the way of every answer, and a format string costs twice as much.
  out.append("HTTP/1.1 ").append(fmt::format_int(head.status).c_str()).append(" ");
  out.append(head.reason).append("\r\n");
  for (const auto& [name, value] : http::headers_for_client(head.headers)) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  const bool tells_length = head.status >= 200 && head.status != 204;
  if (style.framing == ResponseFraming::chunked) out += "Transfer-Encoding: chunked\r\n";
  if (style.framing != ResponseFraming::chunked && head.content_length && tells_length) {
    out.append("Content-Length: ")
        .append(fmt::format_int(*head.content_length).c_str())
        .append("\r\n");
  }
  if (head.status >= 200) {
    if (!style.keep_alive) out += "Connection: close\r\n";
    if (style.keep_alive && style.guest_minor_version == 0) out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
}

}  // namespace pinhole::pep
