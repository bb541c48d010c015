// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate.h"

#include <array>
#include <cstdint>

#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/rand.h>

namespace pinhole::tls {
namespace {

constexpr int kBackdatedDays = 1;  // guests' clocks are behind, and so are some hosts'
constexpr int kAuthorityDays = 3652;

// KeyUsage's bits (RFC 5280 §4.2.1.3).
constexpr int kDigitalSignature = 0;
constexpr int kKeyCertSign = 5;
constexpr int kCrlSign = 6;

struct FreeNames {
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};
struct FreePurposes {
  void operator()(EXTENDED_KEY_USAGE* usage) const { EXTENDED_KEY_USAGE_free(usage); }
};

bool add_extension(X509* certificate, int nid, void* value, bool critical) {
  return X509_add1_ext_i2d(certificate, nid, value, critical ? 1 : 0, X509V3_ADD_DEFAULT) == 1;
}

bool add_basic_constraints(X509* certificate, bool is_authority) {
  const std::unique_ptr<BASIC_CONSTRAINTS, Free<BASIC_CONSTRAINTS_free>> constraints(
      BASIC_CONSTRAINTS_new());
  if (!constraints) return false;
  constraints->ca = is_authority ? 0xFF : 0;
  if (is_authority) {
    constraints->pathlen = ASN1_INTEGER_new();  // zero: its leaves sign nothing
    if (constraints->pathlen == nullptr) return false;
  }
  return add_extension(certificate, NID_basic_constraints, constraints.get(), true);
}

template <typename... Bits>
bool add_key_usage(X509* certificate, Bits... bits) {
  const std::unique_ptr<ASN1_BIT_STRING, Free<ASN1_BIT_STRING_free>> usage(ASN1_BIT_STRING_new());
  return usage && ((ASN1_BIT_STRING_set_bit(usage.get(), bits, 1) == 1) && ...) &&
         add_extension(certificate, NID_key_usage, usage.get(), true);
}

/// The leftmost 160 bits of the key's SHA-256 (RFC 7093 §2, method 1).
bool add_subject_key_id(X509* certificate) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  const std::unique_ptr<ASN1_OCTET_STRING, Free<ASN1_OCTET_STRING_free>> id(
      ASN1_OCTET_STRING_new());
  return id && X509_pubkey_digest(certificate, EVP_sha256(), digest.data(), &length) == 1 &&
         ASN1_OCTET_STRING_set(id.get(), digest.data(), 20) == 1 &&
         add_extension(certificate, NID_subject_key_identifier, id.get(), false);
}

bool add_authority_key_id(X509* certificate, X509* authority) {
  const ASN1_OCTET_STRING* id = X509_get0_subject_key_id(authority);
  const std::unique_ptr<AUTHORITY_KEYID, Free<AUTHORITY_KEYID_free>> reference(
      AUTHORITY_KEYID_new());
  if (id == nullptr || !reference) return false;
  reference->keyid = ASN1_OCTET_STRING_dup(id);
  return reference->keyid != nullptr &&
         add_extension(certificate, NID_authority_key_identifier, reference.get(), false);
}

bool add_server_purpose(X509* certificate) {
  const std::unique_ptr<EXTENDED_KEY_USAGE, FreePurposes> usage(sk_ASN1_OBJECT_new_null());
  return usage && sk_ASN1_OBJECT_push(usage.get(), OBJ_nid2obj(NID_server_auth)) == 1 &&
         add_extension(certificate, NID_ext_key_usage, usage.get(), false);
}

using GeneralNamePtr = std::unique_ptr<GENERAL_NAME, Free<GENERAL_NAME_free>>;

/// Built from values, never from OpenSSL's configuration texts, in which a name could say more.
GeneralNamePtr general_name(const std::string& name, bool is_ip) {
  GeneralNamePtr made(GENERAL_NAME_new());
  if (!made) return nullptr;
  if (is_ip) {
    ASN1_OCTET_STRING* address = a2i_IPADDRESS(name.c_str());
    if (address == nullptr) return nullptr;
    GENERAL_NAME_set0_value(made.get(), GEN_IPADD, address);
    return made;
  }
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  if (text == nullptr) return nullptr;
  GENERAL_NAME_set0_value(made.get(), GEN_DNS, text);
  if (ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) != 1) return nullptr;
  return made;
}

bool add_alternative_name(X509* certificate, const std::string& name, bool is_ip, bool critical) {
  const std::unique_ptr<GENERAL_NAMES, FreeNames> names(GENERAL_NAMES_new());
  GeneralNamePtr made = general_name(name, is_ip);
  if (!names || !made || sk_GENERAL_NAME_push(names.get(), made.get()) != 1) return false;
  static_cast<void>(made.release());
  return add_extension(certificate, NID_subject_alt_name, names.get(), critical);
}

bool set_common_name(X509_NAME* subject, std::string_view name) {
  return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(name.data()),
                                    static_cast<int>(name.size()), -1, 0) == 1;
}

/// A positive number of 127 random bits; clients refuse two certificates of one issuer and serial.
bool set_serial(X509* certificate) {
  std::array<std::uint8_t, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
  bytes[0] = static_cast<std::uint8_t>((bytes[0] & 0x7F) | 0x40);
  const std::unique_ptr<BIGNUM, Free<BN_free>> number(
      BN_bin2bn(bytes.data(), bytes.size(), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_basics(X509* certificate, EVP_PKEY* key, std::time_t now, int days) {
  return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
         X509_set_pubkey(certificate, key) == 1 &&
         X509_time_adj_ex(X509_getm_notBefore(certificate), -kBackdatedDays, 0, &now) != nullptr &&
         X509_time_adj_ex(X509_getm_notAfter(certificate), days, 0, &now) != nullptr;
}

bool could_be_dns_name(std::string_view name) {
  for (const char c : name) {
    if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7F) return false;
  }
  return !name.empty() && name.size() <= kLongestName;
}

}  // namespace

Result<KeyPtr> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return fail("cannot make a P-256 key: {}", openssl_error());
  return key;
}

Result<X509Ptr> make_authority_certificate(std::string_view common_name, EVP_PKEY* key,
                                           std::time_t now) {
  X509Ptr made(X509_new());
  X509* certificate = made.get();
  X509_NAME* subject = made ? X509_get_subject_name(certificate) : nullptr;
  const bool done =
      subject != nullptr && set_basics(certificate, key, now, kAuthorityDays) &&
      set_common_name(subject, common_name.substr(0, kLongestCommonName)) &&
      X509_set_issuer_name(certificate, subject) == 1 && add_basic_constraints(certificate, true) &&
      add_key_usage(certificate, kKeyCertSign, kCrlSign) && add_subject_key_id(certificate) &&
      X509_sign(certificate, key, EVP_sha256()) > 0;
  if (!done) return fail("cannot make the authority's certificate: {}", openssl_error());
  return made;
}

Result<X509Ptr> mint_leaf(const Authority::Parts& authority, EVP_PKEY* key, const std::string& name,
                          bool is_ip, std::time_t now) {
  if (!could_be_dns_name(name)) return fail("no certificate can be made for that name");
  X509Ptr made(X509_new());
  X509* certificate = made.get();
  X509* issuer = authority.certificate.get();
  const bool in_subject = name.size() <= kLongestCommonName;
  const bool done = made && set_basics(certificate, key, now, kLeafDays) &&
                    (!in_subject || set_common_name(X509_get_subject_name(certificate), name)) &&
                    X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
                    add_basic_constraints(certificate, false) &&
                    add_key_usage(certificate, kDigitalSignature) &&
                    add_server_purpose(certificate) && add_authority_key_id(certificate, issuer) &&
                    // RFC 5280 §4.2.1.6: critical where the subject is empty.
                    add_alternative_name(certificate, name, is_ip, !in_subject) &&
                    X509_sign(certificate, authority.key.get(), EVP_sha256()) > 0;
  if (!done) return fail("cannot make a certificate for {}: {}", name, openssl_error());
  return made;
}

}  // namespace pinhole::tls
