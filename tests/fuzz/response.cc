// SPDX-License-Identifier: Apache-2.0
// The head of an answer from a hostile origin: what goes on to the guest is one head, says its
// framing once, and holds nothing that a terminal or a cache would act on.
#include "pep/response_head.h"

#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "http/header.h"

namespace pinhole::pep {
namespace {

/// The lines with their ends, as libcurl hands them out.
template <typename Function>
void for_lines(std::string_view text, Function take) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end == std::string_view::npos ? end : end + 1);
    text.remove_prefix(line.size());
    if (!take(line)) return;
  }
}

std::size_t count_of(std::span<const http::Header> headers, std::string_view name) {
  std::size_t count = 0;
  for (const auto& header : headers) count += http::iequals(header.name, name) ? 1 : 0;
  return count;
}

void check_written(const ResponseHead& head, std::string_view method, ResponseStyle style) {
  style.framing = choose_framing(head, method, style.guest_minor_version);
  std::string text;
  append_response_head(text, head, style);
  PINHOLE_CHECK(text.ends_with("\r\n\r\n") && text.find("\r\n\r\n") == text.size() - 4);
  ResponseHeadReader reader(1 << 20);
  bool complete = false;
  for_lines(text, [&](std::string_view line) {
    PINHOLE_CHECK(!complete && line.ends_with("\r\n"));
    const auto added = reader.add_line(line);
    PINHOLE_CHECK(added.has_value());
    complete = *added;
    return true;
  });
  PINHOLE_CHECK(complete);
  const ResponseHead& again = reader.head();
  PINHOLE_CHECK(again.status == head.status);
  PINHOLE_CHECK(http::headers_for_client(again.headers) == http::headers_for_client(head.headers));
  PINHOLE_CHECK(again.chunked == (style.framing == ResponseFraming::chunked));
  PINHOLE_CHECK(!(again.chunked && again.content_length));
  PINHOLE_CHECK(!again.content_length || again.content_length == head.content_length);
  for (const std::string_view name : {"content-length", "transfer-encoding", "connection"})
    PINHOLE_CHECK(count_of(again.headers, name) <= 1);
  for (const std::string_view name : {"upgrade", "trailer", "te", "alt-svc", "proxy-authenticate"})
    PINHOLE_CHECK(count_of(again.headers, name) == 0);
  if (style.framing == ResponseFraming::length) PINHOLE_CHECK(again.content_length.has_value());
}

void play(fuzz::Input input) {
  constexpr std::string_view kMethods[] = {"GET", "HEAD", "POST"};
  const std::uint8_t how = input.byte();
  const std::string_view method = kMethods[how % 3];
  const ResponseStyle style{.keep_alive = (how & 4) != 0,
                            .guest_minor_version = (how & 8) != 0 ? 1 : 0};
  ResponseHeadReader reader(4096);
  for_lines(input.rest(), [&](std::string_view line) {
    const auto complete = reader.add_line(line);
    if (!complete) {
      PINHOLE_CHECK(!complete.error().code.empty() && !complete.error().message.contains('\n'));
      return false;
    }
    PINHOLE_CHECK(reader.head().headers.size() <= ResponseHeadReader::kMostHeaders);
    if (*complete) {
      const ResponseHead& head = reader.head();
      PINHOLE_CHECK(head.status >= 100 && head.status <= 599);
      PINHOLE_CHECK(!(head.chunked && head.content_length));
      check_written(head, method, style);
    }
    return true;
  });
}

}  // namespace
}  // namespace pinhole::pep

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::pep::play(pinhole::fuzz::Input(data, size));
  return 0;
}
