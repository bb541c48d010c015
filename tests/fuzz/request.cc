// SPDX-License-Identifier: Apache-2.0
// The front that the guest speaks HTTP to: a head, then a body. Strict, and the same whatever the
// pieces in which the bytes arrive; what is passed on is read by the next one as we read it.
#include "http/request.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "http/chunked.h"
#include "http/client_claim.h"
#include "http/header.h"

namespace pinhole::http {
namespace {

constexpr HeadLimits kLimits{.head_bytes = 2048, .target_bytes = 1024, .headers = 32};
/// For what we have rebuilt: normalising makes targets longer.
constexpr HeadLimits kWide{.head_bytes = 1 << 20, .target_bytes = 1 << 19, .headers = 1000};

std::size_t count_of(std::span<const Header> headers, std::string_view name) {
  return static_cast<std::size_t>(
      std::ranges::count_if(headers, [&](const Header& h) { return iequals(h.name, name); }));
}

struct Found {
  bool failed = false;
  std::optional<std::size_t> end;
  bool operator==(const Found&) const = default;
};

Found look(std::string_view buffer, std::size_t checked) {
  const auto end = find_head_end(buffer, kLimits, checked);
  return {.failed = !end, .end = end ? *end : std::nullopt};
}

/// Where the head ends, as it is found when the bytes come in pieces.
Found look_in_pieces(std::string_view bytes) {
  std::string buffer;
  Found found;
  std::size_t checked = 0;
  fuzz::in_pieces(bytes, [&](std::string_view piece) {
    if (found.failed || found.end) return;
    buffer += piece;
    found = look(buffer, checked);
    checked = buffer.size();
  });
  return found;
}

/// What a strict reader of RFC 9112 would find wrong, said without the code under test.
void check_strictness(std::string_view text, const RequestHead& head) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    PINHOLE_CHECK(text[at] != '\0');
    PINHOLE_CHECK(text[at] != '\n' || (at > 0 && text[at - 1] == '\r'));
    PINHOLE_CHECK(text[at] != '\r' || (at + 1 < text.size() && text[at + 1] == '\n'));
    PINHOLE_CHECK(text[at] != '\n' || at + 1 == text.size() ||
                  (text[at + 1] != ' ' && text[at + 1] != '\t'));
  }
  const std::string lower = to_lower(text);
  const bool chunked = lower.contains("\r\ntransfer-encoding:");
  const bool length = lower.contains("\r\ncontent-length:");
  PINHOLE_CHECK(!(chunked && length));
  PINHOLE_CHECK(head.framing == (chunked  ? Framing::chunked
                                 : length ? Framing::length
                                          : Framing::none));
  PINHOLE_CHECK(count_of(head.headers, "host") <= 1);
  PINHOLE_CHECK(count_of(head.headers, "content-length") <= 1);
  PINHOLE_CHECK(count_of(head.headers, "transfer-encoding") <= 1);
  PINHOLE_CHECK(head.minor_version == 1 || head.framing != Framing::chunked);
  PINHOLE_CHECK(head.headers.size() <= kLimits.headers);
  PINHOLE_CHECK(is_token(head.method));
  for (const char c : head.method) PINHOLE_CHECK(c < 'a' || c > 'z');
}

/// Nothing that is meant for this proxy, or steers the next connection, goes on.
void check_passed_on(const RequestHead& head, const std::vector<Header>& passed) {
  for (const std::string_view name :
       {"connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding",
        "upgrade", "host", "content-length", "expect", "proxy-authorization", "pinhole-client"})
    PINHOLE_CHECK(count_of(passed, name) == 0);
  for (const std::string_view name : list_values(head.headers, "connection"))
    PINHOLE_CHECK(count_of(passed, name) == 0);
  for (const Header& header : passed)
    PINHOLE_CHECK(std::ranges::find(head.headers, header) != head.headers.end());
}

std::string rebuilt(const RequestHead& head, std::string_view target,
                    const std::vector<Header>& passed) {
  std::string text =
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", head.method, target,
                  head.is_connect() ? fmt::format("{}:{}", head.url.host.in_url(), head.url.port)
                                    : head.url.authority());
  for (const Header& header : passed) text += fmt::format("{}: {}\r\n", header.name, header.value);
  if (head.framing == Framing::chunked) text += "Transfer-Encoding: chunked\r\n";
  if (head.framing == Framing::length)
    text += fmt::format("Content-Length: {}\r\n", head.content_length);
  return text + "\r\n";
}

void check_same(const RequestHead& head, const std::vector<Header>& passed,
                const Parsed<RequestHead>& again) {
  PINHOLE_CHECK(again.has_value());
  PINHOLE_CHECK(again->method == head.method && again->url.text() == head.url.text());
  PINHOLE_CHECK(again->framing == head.framing && again->content_length == head.content_length);
  PINHOLE_CHECK(headers_for_upstream(again->headers) == passed);
}

/// What is written down of it is what can be written back, and short.
void check_claim(const RequestHead& head) {
  const auto claim = client_claim(head.headers);
  if (!claim) return;
  PINHOLE_CHECK(claim->program.size() <= kLongestProgramName);
  std::string text = "program=\"";
  for (const char c : claim->program) {
    PINHOLE_CHECK(c >= 0x20 && c <= 0x7E);
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  text += '"';
  if (claim->uid) text += fmt::format("; uid={}", *claim->uid);
  if (claim->pid) text += fmt::format("; pid={}", *claim->pid);
  PINHOLE_CHECK(parse_client_claim(text) == claim);
}

void check_head(std::string_view text, const RequestHead& head) {
  check_strictness(text, head);
  check_claim(head);
  const auto passed = headers_for_upstream(head.headers);
  check_passed_on(head, passed);
  if (head.is_connect()) {
    const std::string target = fmt::format("{}:{}", head.url.host.in_url(), head.url.port);
    const auto again = parse_proxy_request(rebuilt(head, target, passed), kWide);
    PINHOLE_CHECK(again && again->url.host == head.url.host && again->url.port == head.url.port);
    return;
  }
  // As the origin sees it, and as another proxy would.
  const std::string origin = rebuilt(head, head.url.path_and_query(), passed);
  check_same(head, passed,
             parse_tunnel_request(origin, head.url.scheme, head.url.host, head.url.port, kWide));
  check_same(head, passed, parse_proxy_request(rebuilt(head, head.url.text(), passed), kWide));
}

struct Body {
  std::string data;
  std::vector<Header> trailers;
  std::size_t consumed = 0;
  bool done = false;
  bool failed = false;
  bool operator==(const Body&) const = default;
};

/// Gives `input` to the decoder; false when there is nothing left to give or to hope for.
void decode(ChunkedDecoder& decoder, std::string_view input, Body& body) {
  while (!body.failed && !body.done) {
    const auto step = decoder.next(input);
    body.failed = !step;
    if (!step) return;
    PINHOLE_CHECK(step->consumed <= input.size() && step->data.size() <= step->consumed);
    body.data += step->data;
    body.consumed += step->consumed;
    body.done = step->done;
    input.remove_prefix(step->consumed);
    if (step->consumed == 0) return;
  }
}

void read_body(std::string_view bytes) {
  Body at_once;
  ChunkedDecoder whole;
  decode(whole, bytes, at_once);
  if (at_once.done) at_once.trailers = whole.trailers();
  Body piecewise;
  ChunkedDecoder decoder;
  fuzz::in_pieces(bytes, [&](std::string_view piece) { decode(decoder, piece, piecewise); });
  if (piecewise.done) piecewise.trailers = decoder.trailers();
  PINHOLE_CHECK(at_once.data == piecewise.data && at_once.done == piecewise.done);
  PINHOLE_CHECK(at_once.failed == piecewise.failed && at_once.trailers == piecewise.trailers);
  if (!at_once.done) return;
  PINHOLE_CHECK(at_once.consumed == piecewise.consumed);
  // Written anew, it is the same body.
  std::string text =
      at_once.data.empty() ? "" : chunk_prefix(at_once.data.size()) + at_once.data + "\r\n";
  text += kLastChunk;
  Body again;
  ChunkedDecoder reader;
  decode(reader, text, again);
  PINHOLE_CHECK(again.done && again.data == at_once.data && again.consumed == text.size());
}

void play(std::uint8_t mode, std::string_view bytes) {
  if (mode == 'c') return read_body(bytes);
  const Found found = look(bytes, 0);
  PINHOLE_CHECK(found == look_in_pieces(bytes));
  if (!found.end) return;
  PINHOLE_CHECK(*found.end <= bytes.size() && *found.end <= kLimits.head_bytes);
  const std::string_view text = bytes.substr(0, *found.end);
  static const Host inside = normalise_host("a.test").value();
  const auto head = mode == 't' ? parse_tunnel_request(text, Scheme::https, inside, 443, kLimits)
                                : parse_proxy_request(text, kLimits);
  if (!head) {
    PINHOLE_CHECK(head.error().status >= 400 && !head.error().detail.contains('\n'));
    return;
  }
  if (mode == 't') PINHOLE_CHECK(head->form == Form::origin && head->url.host == inside);
  check_head(text, *head);
  if (head->framing == Framing::chunked) read_body(bytes.substr(*found.end));
}

}  // namespace
}  // namespace pinhole::http

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::fuzz::Input input(data, size);
  const std::uint8_t mode = input.byte();
  pinhole::http::play(mode, input.rest());
  return 0;
}
