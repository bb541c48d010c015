// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "tls/certificate.h"
#include "tls/connection.h"
#include "tls/stream.h"

namespace pinhole::tls {

struct Client::Impl {
  SslContextPtr context;
};

Client::Client() : impl_(std::make_unique<Impl>(Impl{make_context(TLS_client_method())})) {
  SSL_CTX_set_verify(impl_->context.get(), SSL_VERIFY_PEER, nullptr);
}
Client::Client(Client&& other) noexcept = default;
Client& Client::operator=(Client&& other) noexcept = default;
Client::~Client() = default;

Result<Stream> Client::connect(const TrustStore& trust, const std::string& name, bool is_ip,
                               std::span<const std::string> alpn, Transport& transport) {
  // OpenSSL takes an empty name for "any".
  if (name.empty() || name.size() > kLongestName || name.find('\0') != std::string::npos)
    return fail("there is no name to verify the certificate for");
  auto impl = std::make_unique<Stream::Impl>(impl_->context.get(), transport);
  SSL* ssl = impl->ssl.get();
  trust.use_for(ssl);
  X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool set = is_ip ? X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str()) == 1
                         : X509_VERIFY_PARAM_set1_host(wanted, name.data(), name.size()) == 1 &&
                               SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
  if (!set) return fail("cannot verify a certificate for {}: {}", name, openssl_error());
  const std::string protocols = alpn_wire(alpn);
  if (!protocols.empty()) {
    // 0 is success here, unlike anywhere else.
    PINHOLE_CHECK(SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(protocols.data()),
                                      static_cast<unsigned>(protocols.size())) == 0);
  }
  SSL_set_connect_state(ssl);
  return Stream(std::move(impl));
}

}  // namespace pinhole::tls
