// SPDX-License-Identifier: Apache-2.0
#include "http/chunked.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "base/printable.h"

namespace pinhole::http {
namespace {

constexpr std::size_t kMostDigits = 15;  // of a size: 2^60 - 1, far from any overflow
constexpr std::size_t kLongestExtension = 256;
constexpr std::size_t kLongestLine = 4096;  // of a trailer field; also bounds `line_`
constexpr std::size_t kMostTrailerBytes = 8 << 10;
constexpr std::size_t kMostTrailers = 32;

/// RFC 9110 §6.5.1: fields that mean something only before the body.
constexpr std::array<std::string_view, 12> kNotInTrailers = {
    "transfer-encoding", "content-length", "host", "connection", "content-encoding", "content-type",
    "content-range",     "trailer",        "te",   "expect",     "authorization",    "cookie"};

std::unexpected<Fault> broken(std::string_view why) {
  return fault(kInvalidRequest, 400, "chunked body: {}", why);
}

}  // namespace

Parsed<ChunkedDecoder::Step> ChunkedDecoder::next(std::string_view input) {
  if (state_ == State::done) return Step{.done = true};
  if (input.empty()) return Step{};
  if (state_ != State::data) return line_step(input);
  const std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
  left_ -= length;
  if (left_ == 0) state_ = State::data_end;
  return Step{.consumed = length, .data = input.substr(0, length)};
}

/// Takes input up to the end of the line; acts on it when it is complete.
Parsed<ChunkedDecoder::Step> ChunkedDecoder::line_step(std::string_view input) {
  const std::size_t end = input.find('\n');
  const std::string_view part = input.substr(0, end == std::string_view::npos ? end : end + 1);
  const std::size_t limit = state_ == State::trailer ? kLongestLine
                            : state_ == State::size  ? kMostDigits + kLongestExtension + 2
                                                     : 2;
  if (line_.size() + part.size() > limit) {
    return broken(state_ == State::data_end ? "a chunk is longer than its size says"
                                            : "a line is too long");
  }
  line_ += part;
  if (end != std::string_view::npos) {
    const std::string line = std::exchange(line_, {});
    if (!line.ends_with("\r\n")) return broken("a line ends with a bare line feed");
    PINHOLE_TRY_VOID(take_line(std::string_view(line).substr(0, line.size() - 2)));
  }
  return Step{.consumed = part.size(), .done = state_ == State::done};
}

Parsed<void> ChunkedDecoder::take_line(std::string_view line) {
  if (line.contains('\r') || line.contains('\0')) return broken("a line holds a control character");
  if (state_ == State::size) return take_size(line);
  if (state_ == State::trailer) return take_trailer(line);
  if (!line.empty()) return broken("a chunk is longer than its size says");
  state_ = State::size;
  return {};
}

Parsed<void> ChunkedDecoder::take_size(std::string_view line) {
  const std::string_view digits = line.substr(0, line.find(';'));
  if (digits.empty() || digits.size() > kMostDigits ||
      digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
    return broken(fmt::format("\"{}\" is not a chunk size", printable(digits, 40)));
  }
  const std::string_view extension = line.substr(digits.size());
  if (!std::ranges::all_of(extension,
                           [](char c) { return c == '\t' || (c >= 0x20 && c < 0x7F); })) {
    return broken("a chunk extension holds a control character");
  }
  std::from_chars(digits.data(), digits.data() + digits.size(), left_, 16);
  state_ = left_ == 0 ? State::trailer : State::data;
  return {};
}

Parsed<void> ChunkedDecoder::take_trailer(std::string_view line) {
  if (line.empty()) {
    state_ = State::done;
    return {};
  }
  trailer_bytes_ += line.size() + 2;
  if (trailer_bytes_ > kMostTrailerBytes || trailers_.size() >= kMostTrailers) {
    return fault(kConstraintViolation, 431, "the trailers of a chunked body are too long");
  }
  PINHOLE_TRY(Header trailer, parse_header_line(line));
  for (const std::string_view name : kNotInTrailers) {
    if (iequals(trailer.name, name)) return broken(fmt::format("a trailer named {}", name));
  }
  trailers_.push_back(std::move(trailer));
  return {};
}

std::string chunk_prefix(std::size_t size) { return fmt::format("{:x}\r\n", size); }

}  // namespace pinhole::http
