// SPDX-License-Identifier: Apache-2.0
// Making X.509 certificates (RFC 5280). For this module's .cc files and tests.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tls/authority.h"
#include "tls/openssl.h"

namespace pinhole::tls {

struct Authority::Parts {
  X509Ptr certificate;
  KeyPtr key;
};

/// RFC 1035 §2.3.4, without the final dot.
inline constexpr std::size_t kLongestName = 253;
/// ub-common-name; a longer name stands in the subjectAltName only.
inline constexpr std::size_t kLongestCommonName = 64;
inline constexpr int kLeafDays = 90;

/// A new P-256 key.
Result<KeyPtr> make_key();

/// The certificate of an authority with this key, signed by itself.
Result<X509Ptr> make_authority_certificate(std::string_view common_name, EVP_PKEY* key,
                                           std::time_t now);

/// A server's certificate for one DNS name (lower-case ASCII) or one IP address (IPv6 without
/// brackets), valid from a day before `now` for kLeafDays after it.
Result<X509Ptr> mint_leaf(const Authority::Parts& authority, EVP_PKEY* key, const std::string& name,
                          bool is_ip, std::time_t now);

}  // namespace pinhole::tls
