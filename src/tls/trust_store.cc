// SPDX-License-Identifier: Apache-2.0
#include "tls/trust_store.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "tls/openssl.h"

namespace pinhole::tls {
namespace {

Result<int> add_certificates(X509_STORE* store, std::string_view pem) {
  constexpr std::size_t kLongestPem = std::size_t{16} << 20;
  if (pem.size() > kLongestPem)
    return fail("the certificates are longer than {} bytes", kLongestPem);
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  int count = 0;
  while (true) {
    const X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!certificate) break;
    if (X509_STORE_add_cert(store, certificate.get()) != 1) {
      return fail("cannot use a certificate: {}", openssl_error());
    }
    ++count;
  }
  // The end of the text is the only good reason to stop.
  const unsigned long why = ERR_peek_last_error();
  if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE) {
    return fail("certificate {} is damaged: {}", count + 1, openssl_error());
  }
  ERR_clear_error();
  return count;
}

}  // namespace

Result<TrustStore> TrustStore::host() {
  std::shared_ptr<void> store(X509_STORE_new(),
                              [](void* s) { X509_STORE_free(static_cast<X509_STORE*>(s)); });
  if (!store || X509_STORE_set_default_paths(static_cast<X509_STORE*>(store.get())) != 1) {
    return fail("cannot open the host's certificate store: {}", openssl_error());
  }
  return TrustStore(std::move(store));
}

Result<TrustStore> TrustStore::host_and(std::string_view pem) {
  PINHOLE_TRY(TrustStore trust, host());
  PINHOLE_TRY(const int count, add_certificates(static_cast<X509_STORE*>(trust.store_.get()), pem));
  if (count == 0) return fail("there is no PEM certificate in it");
  return trust;
}

void TrustStore::use_in(void* ssl_context) const {
  SSL_CTX_set1_cert_store(static_cast<SSL_CTX*>(ssl_context),
                          static_cast<X509_STORE*>(store_.get()));
}

void TrustStore::use_for(void* ssl) const {
  SSL_set1_verify_cert_store(static_cast<SSL*>(ssl), static_cast<X509_STORE*>(store_.get()));
}

}  // namespace pinhole::tls
