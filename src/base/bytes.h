// SPDX-License-Identifier: Apache-2.0
// Little-endian integers in byte buffers, without alignment or aliasing traps.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace pinhole {

/// Reads a little-endian integer at `offset`; the caller has checked that it fits.
template <std::unsigned_integral T>
T load_le(std::span<const std::uint8_t> bytes, std::size_t offset) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(static_cast<T>(bytes[offset + i]) << (8 * i)));
  }
  return value;
}

template <std::unsigned_integral T>
void store_le(std::span<std::uint8_t> bytes, std::size_t offset, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    bytes[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
}

}  // namespace pinhole
