// SPDX-License-Identifier: Apache-2.0
// The chunked transfer coding (RFC 9112 §7.1), without the liberties in it that requests are
// smuggled with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/fault.h"
#include "http/header.h"

namespace pinhole::http {

/// Reads a chunked body piece by piece; owns no body bytes. Refused: bare LF, white space around
/// the size, "0x", sizes of more than 15 digits, extensions over 256 bytes a line, trailers over 8
/// KiB or 32 fields, trailers that would change framing or routing.
class ChunkedDecoder {
 public:
  struct Step {
    std::size_t consumed = 0;  ///< bytes of the input that are done with, `data` included
    std::string_view data;     ///< a part of the body; points into the input
    bool done = false;         ///< the body has ended; what follows in the input is not its
  };
  /// One step: give the rest again as long as `consumed` > 0 and not done; then wait for more.
  /// After a fault the connection cannot be used any more.
  Parsed<Step> next(std::string_view input);

  [[nodiscard]] bool done() const { return state_ == State::done; }
  /// Complete once done.
  [[nodiscard]] const std::vector<Header>& trailers() const { return trailers_; }

 private:
  enum class State {
    size,      ///< in a line with a chunk's size
    data,      ///< `left_` bytes of the chunk are still to come
    data_end,  ///< before the CRLF after a chunk's bytes
    trailer,   ///< in the lines after the last chunk
    done,
  };
  Parsed<Step> line_step(std::string_view input);
  Parsed<void> take_line(std::string_view line);
  Parsed<void> take_size(std::string_view line);
  Parsed<void> take_trailer(std::string_view line);

  State state_ = State::size;
  std::uint64_t left_ = 0;
  std::string line_;  // an unfinished line, bounded by kLongestLine
  std::size_t trailer_bytes_ = 0;
  std::vector<Header> trailers_;
};

/// What stands in front of a chunk of `size` > 0 bytes; after its bytes comes CRLF.
std::string chunk_prefix(std::size_t size);
/// The last chunk and the end of the trailers.
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace pinhole::http
