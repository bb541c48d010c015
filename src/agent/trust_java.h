// SPDX-License-Identifier: Apache-2.0
// Java's keystore of authorities in its old format, JKS, as Debian's ca-certificates-java writes it
// (sun.security.provider.JavaKeyStore): a list of entries and a digest over a well-known password.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::agent {

inline constexpr std::string_view kJavaPassword = "changeit";

/// The keystore with this certificate as a trusted entry called `alias` (lower case), in place of an
/// earlier one of that name; the same bytes where it is in already. Errors: another format (a
/// PKCS#12 keystore, for one), another password, or cut off.
Result<std::string> with_java_authority(std::string_view keystore, std::string_view alias,
                                        std::string_view der, std::uint64_t time_ms);

}  // namespace pinhole::agent
