// SPDX-License-Identifier: Apache-2.0
// As much of a certificate as the guest's stores want to know. It is our own authority's, made by
// the host; what cannot be read is refused, whatever it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pinhole::agent {

struct Certificate {
  std::string der;
  std::string base64;  // of the DER, in one line
  /// What OpenSSL calls the file of it in a folder of authorities, "1a2b3c4d" (`openssl x509
  /// -subject_hash`); nothing where the subject has values that are no plain text.
  std::optional<std::string> subject_hash;
};

/// The first certificate of a PEM text.
std::optional<Certificate> read_certificate(std::string_view pem);

}  // namespace pinhole::agent
