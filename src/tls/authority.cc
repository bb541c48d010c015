// SPDX-License-Identifier: Apache-2.0
#include "tls/authority.h"

#include <ctime>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/check.h"
#include "tls/certificate.h"

namespace pinhole::tls {
namespace {

constexpr std::size_t kLongestPem = 64 << 10;

Result<BioPtr> text_source(std::string_view pem, std::string_view what) {
  if (pem.size() > kLongestPem) return fail("the {} is longer than {} bytes", what, kLongestPem);
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  PINHOLE_CHECK(bio != nullptr);
  return bio;
}

/// OpenSSL would ask for a password on the terminal.
int no_password(char* /*room*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  PINHOLE_CHECK(size > 0);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Authority::Authority(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Authority::Authority(Authority&& other) noexcept = default;
Authority& Authority::operator=(Authority&& other) noexcept = default;
Authority::~Authority() = default;

Result<Authority> Authority::create(std::string_view vm_name) {
  PINHOLE_TRY(KeyPtr key, make_key());
  const std::string name = "Pinhole VM " + std::string(vm_name);
  PINHOLE_TRY(X509Ptr certificate, make_authority_certificate(name, key.get(), std::time(nullptr)));
  return Authority(
      std::make_unique<Parts>(Parts{.certificate = std::move(certificate), .key = std::move(key)}));
}

Result<Authority> Authority::load(std::string_view certificate_pem, std::string_view key_pem) {
  ERR_clear_error();
  PINHOLE_TRY(const BioPtr certificate_source, text_source(certificate_pem, "certificate"));
  X509Ptr certificate(PEM_read_bio_X509(certificate_source.get(), nullptr, no_password, nullptr));
  if (!certificate) return fail("the certificate is damaged: {}", openssl_error());
  if (const X509Ptr second(
          PEM_read_bio_X509(certificate_source.get(), nullptr, no_password, nullptr));
      second) {
    return fail("there is more than one certificate");
  }
  PINHOLE_TRY(const BioPtr key_source, text_source(key_pem, "key"));
  KeyPtr key(PEM_read_bio_PrivateKey(key_source.get(), nullptr, no_password, nullptr));
  if (!key) return fail("the key is damaged: {}", openssl_error());
  ERR_clear_error();
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return fail("the key does not belong to the certificate");
  }
  if (X509_check_ca(certificate.get()) != 1 ||
      X509_get0_subject_key_id(certificate.get()) == nullptr) {
    return fail("the certificate is not one of an authority");
  }
  return Authority(
      std::make_unique<Parts>(Parts{.certificate = std::move(certificate), .key = std::move(key)}));
}

std::string Authority::certificate_pem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PINHOLE_CHECK(bio && PEM_write_bio_X509(bio.get(), parts_->certificate.get()) == 1);
  return text_of(bio.get());
}

std::string Authority::key_pem() const {
  // Secure memory is wiped when it is freed.
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  PINHOLE_CHECK(bio && PEM_write_bio_PKCS8PrivateKey(bio.get(), parts_->key.get(), nullptr, nullptr,
                                                     0, nullptr, nullptr) == 1);
  return text_of(bio.get());
}

}  // namespace pinhole::tls
