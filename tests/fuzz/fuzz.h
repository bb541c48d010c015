// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share: the entry points by which libFuzzer (or replay.cc) calls them, and a
// reader that takes small decisions off an input.
//
// A target is a function of its bytes alone: no clock, no random numbers, no files that stay. A
// property that does not hold is a PINHOLE_CHECK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"

extern "C" {
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
/// A target may have one, where plain mutations would only ever break a length or a hash.
std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed);
/// libFuzzer's own mutations; for custom mutators.
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
}

namespace pinhole::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
inline std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

/// Takes values off the front; zeros when the input has ended.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}
  Input(const std::uint8_t* data, std::size_t size) : rest_(text_of(data, size)) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  std::uint64_t number(std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::uint64_t{byte()} << (8 * i);
    return value;
  }
  std::string_view text(std::size_t length) {
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() { return text(rest_.size()); }

 private:
  std::string_view rest_;
};

/// Decisions for custom mutators (xorshift64*); libFuzzer gives the seed.
class Dice {
 public:
  explicit Dice(unsigned int seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  /// 0 … bound - 1; 0 where there is nothing to choose from.
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : next() % bound; }

 private:
  std::uint64_t state_;
};

/// Calls `part` with pieces of `text` whose lengths depend on `text` alone, so that a target can
/// compare what arrives in pieces with what arrives at once.
template <typename Function>
void in_pieces(std::string_view text, Function part) {
  std::uint64_t state = text.size() + 1;
  while (!text.empty()) {
    state = state * 6364136223846793005ULL + static_cast<unsigned char>(text.front()) + 1442695;
    // Mostly crumbs: what goes wrong between two reads goes wrong at a byte.
    const std::size_t length =
        (state >> 33) % 4 == 0 ? (state >> 40) % 64 + 1 : (state >> 40) % 4 + 1;
    const std::string_view piece = text.substr(0, length);
    text.remove_prefix(piece.size());
    part(piece);
  }
}

/// The mutated text as libFuzzer wants it.
inline std::size_t put_back(std::string_view text, std::uint8_t* data, std::size_t max_size) {
  const std::size_t size = text.size() < max_size ? text.size() : max_size;
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::uint8_t>(text[i]);
  return size;
}

}  // namespace pinhole::fuzz
