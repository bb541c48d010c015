// SPDX-License-Identifier: Apache-2.0
// Newline-terminated messages out of a byte stream, with a bound on what a peer can make us keep.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::wire {

/// Incremental: add() what was read, then call next() until it has nothing. After an error the
/// stream has lost its framing; drop the peer.
///
///   reader.add(bytes);
///   for (;;) {
///     auto line = reader.next();
///     if (!line) return drop(line.error());
///     if (!*line) break;  // needs more bytes
///     handle(**line);
///   }
class LineReader {
 public:
  /// `limit` bounds a line without its newline.
  explicit LineReader(std::size_t limit) : limit_(limit) {}

  void add(std::string_view bytes) { pending_.append(bytes); }
  /// The next line without its newline; nothing when it is not complete yet. A line, or a piece of
  /// one, that is longer than the limit is an error.
  Result<std::optional<std::string>> next();
  /// Bytes of an unfinished line: not zero at the end of the stream means it was cut off.
  [[nodiscard]] std::size_t pending() const { return pending_.size() - start_; }

 private:
  std::size_t limit_;
  std::string pending_;
  std::size_t start_ = 0;    // where the next line begins
  std::size_t scanned_ = 0;  // no newline before this
};

}  // namespace pinhole::wire
