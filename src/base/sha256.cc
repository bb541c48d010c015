// SPDX-License-Identifier: Apache-2.0
#include "base/sha256.h"

#include "base/strings.h"

namespace pinhole {

void Sha256::update(std::string_view text) {
  nettle_sha256_update(&context_, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  nettle_sha256_digest(&context_, digest.size(), digest.data());
  return digest;
}

std::string Sha256::finish_hex() { return hex(finish()); }

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish_hex();
}

}  // namespace pinhole
