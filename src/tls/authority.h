// SPDX-License-Identifier: Apache-2.0
// A VM's own certificate authority. The guest trusts it, and nothing else does: it dies with the
// VM, and its key never enters the guest.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::tls {

class Authority {
 public:
  /// A new P-256 key and its self-signed certificate "Pinhole VM <name>": it may sign leaf
  /// certificates and nothing else (pathlen 0). Valid from a day ago, because clocks differ, for
  /// ten years.
  static Result<Authority> create(std::string_view vm_name);
  /// What certificate_pem() and key_pem() gave. Refused: a key of another certificate, a certificate
  /// that may not sign others, more than one certificate, an encrypted key.
  static Result<Authority> load(std::string_view certificate_pem, std::string_view key_pem);

  Authority(Authority&& other) noexcept;
  Authority& operator=(Authority&& other) noexcept;
  ~Authority();

  [[nodiscard]] std::string certificate_pem() const;
  /// PKCS#8, not encrypted: for a file of mode 0600.
  [[nodiscard]] std::string key_pem() const;

  struct Parts;  // OpenSSL's objects, in tls/certificate.h
  [[nodiscard]] const Parts& parts() const { return *parts_; }

 private:
  explicit Authority(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pinhole::tls
