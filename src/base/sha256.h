// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), by nettle: small enough for the guest's static agent and the CLI's start.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nettle/sha2.h>

namespace pinhole {

using Sha256Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256() { nettle_sha256_init(&context_); }
  void update(std::span<const std::uint8_t> bytes) {
    nettle_sha256_update(&context_, bytes.size(), bytes.data());
  }
  void update(std::string_view text);
  /// The digest of all that was given; starts anew afterwards.
  Sha256Digest finish();
  /// The same as 64 hexadecimal digits.
  std::string finish_hex();

 private:
  sha256_ctx context_;
};

std::string sha256_hex(std::string_view text);

}  // namespace pinhole
