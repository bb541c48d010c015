// SPDX-License-Identifier: Apache-2.0
// The way back: whatever an origin sends is searched for the values of secrets, and what is found
// becomes the placeholder that the guest knows.
//
// Found are these spellings of a whole value, wherever the chunks are cut:
//   - exact; and each character on its own as itself, as %XX, as \uXXXX (hex digits of either
//     case), "\/", "\"" and "\\" for / " and \, "+" for a blank: so percent-encoded (any choice of
//     characters), form-encoded and JSON-escaped ones, and mixtures;
//   - base64 at any of its three alignments inside a longer text, standard and URL-safe alphabet,
//     with or without line breaks (also those that JSON writes as \n), and its characters escaped
//     as above;
//   - hexadecimal, of either case.
// Not found: parts of a value, other letter cases of it, HTML entities, two encodings one over the
// other (except base64 inside JSON or a URL), compression, encryption, anything that needs a
// program to undo. An origin that wants to hand its own credential to the guest can do so.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "secret/wiped.h"

namespace pinhole::secret {

/// What to search for, made once for many texts.
class MaskTable {
 public:
  struct Entry {
    std::string_view value;  ///< at least kShortestValue bytes of printable ASCII
    std::string_view placeholder;
  };
  explicit MaskTable(std::span<const Entry> entries);

  /// The first place at or after `at` where a spelling could begin; text.size() if none.
  [[nodiscard]] std::size_t next_candidate(std::string_view text, std::size_t at) const;

  struct Sight {
    std::size_t length = 0;        ///< of the longest spelling that begins here; 0 if none does
    std::string_view placeholder;  ///< what to put there
    bool starved = false;          ///< more text could make it one, or a longer one
  };
  [[nodiscard]] Sight look(std::string_view text, std::size_t at) const;

 private:
  enum class Kind : std::uint8_t { plain, base64, hexadecimal };
  struct Pattern {
    Kind kind;
    WipedBytes symbols;
    std::string placeholder;
  };
  struct Step;
  struct Walk;

  void add(Kind kind, std::string_view symbols, std::string_view placeholder);
  void add_base64(std::string_view value, std::string_view placeholder);
  void note_starts(std::uint16_t pattern);
  void note_windows(const Pattern& pattern, std::size_t symbol, std::string& begun);
  static bool accepts(Kind kind, char symbol, char c);
  static Step step(Kind kind, char symbol, std::string_view rest);
  static Walk walk(const Pattern& pattern, std::string_view text);

  // Of each text that could begin a spelling, a hash of the first four bytes.
  static constexpr unsigned kWindowBits = 17;
  static std::uint32_t slot(const char* window);

  std::vector<Pattern> patterns_;
  std::array<std::vector<std::uint16_t>, 256> by_first_;  // patterns that may begin with this byte
  std::vector<std::uint64_t> windows_;
};

/// One text that comes in pieces: a body.
class Masker {
 public:
  explicit Masker(std::shared_ptr<const MaskTable> table) : table_(std::move(table)) {}

  /// Appends to `out`. What may be the beginning of a value waits for more; the rest goes at once.
  void feed(std::string_view in, std::string& out);
  /// Nothing has come for a while: a peer may be waiting for an answer to what waits here. Gives it
  /// out if it is no more than kMostReleased bytes; it still counts as a beginning, and if it was one,
  /// the rest becomes the placeholder.
  void release(std::string& out);
  static constexpr std::size_t kMostReleased = 3;
  /// The end of the text.
  void finish(std::string& out);
  /// Something was replaced.
  [[nodiscard]] bool changed() const { return changed_; }
  /// Bytes that wait.
  [[nodiscard]] std::size_t held() const { return held_.size(); }

 private:
  std::size_t take(std::string_view text, bool at_end, std::string& out);

  std::shared_ptr<const MaskTable> table_;
  WipedBytes held_;
  std::size_t released_ = 0;  // of held_, given out already
  bool changed_ = false;
};

/// A short text at once: a header's value, a reason phrase. True when something was replaced.
bool mask(const MaskTable& table, std::string& text);

}  // namespace pinhole::secret
