// SPDX-License-Identifier: Apache-2.0
// The certificates that an origin's chain may end in. OpenSSL stays behind this header.
#pragma once

#include <memory>
#include <string_view>

#include "base/error.h"

namespace pinhole::tls {

/// The host's trust store (OpenSSL's default file and folder; SSL_CERT_FILE and SSL_CERT_DIR are
/// honoured), plus certificates of the user's where a `ca:` names them. Cheap to copy; built once,
/// used by every connection.
class TrustStore {
 public:
  /// The host's own. Its folder is read as chains need it, so this is quick.
  static Result<TrustStore> host();
  /// The host's own and every certificate in `pem`; no certificate in it is an error.
  static Result<TrustStore> host_and(std::string_view pem);

  /// Makes a connection's context (SSL_CTX*, as libcurl hands it out) verify against this store.
  void use_in(void* ssl_context) const;
  /// The same for one connection (SSL*).
  void use_for(void* ssl) const;

 private:
  explicit TrustStore(std::shared_ptr<void> store) : store_(std::move(store)) {}
  std::shared_ptr<void> store_;  // X509_STORE
};

}  // namespace pinhole::tls
