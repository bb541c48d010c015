// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "base/sha256.h"
#include "tls/certificate.h"
#include "tls/connection.h"
#include "tls/leaf_cache.h"
#include "tls/stream.h"

namespace pinhole::tls {
namespace {

/// The first of ours that the client offers too.
int choose_alpn(SSL* ssl, const unsigned char** chosen, unsigned char* chosen_size,
                const unsigned char* offer, unsigned offer_size, void* /*data*/) {
  const auto* impl = static_cast<const Stream::Impl*>(SSL_get_app_data(ssl));
  if (impl->alpn.empty()) return SSL_TLSEXT_ERR_NOACK;
  unsigned char* out = nullptr;
  const int found = SSL_select_next_proto(
      &out, chosen_size, reinterpret_cast<const unsigned char*>(impl->alpn.data()),
      static_cast<unsigned>(impl->alpn.size()), offer, offer_size);
  if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = out;
  return SSL_TLSEXT_ERR_OK;
}

SslContextPtr make_server_context() {
  SslContextPtr context = make_context(TLS_server_method());
  SSL_CTX_set_options(context.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  // The guest is on the same machine: the cheapest of the good ones first.
  PINHOLE_CHECK(SSL_CTX_set_ciphersuites(context.get(),
                                         "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"
                                         "TLS_AES_256_GCM_SHA384") == 1);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_alpn, nullptr);
  SSL_CTX_set_num_tickets(context.get(), 1);
  SSL_CTX_set_max_early_data(context.get(), 0);
  return context;
}

}  // namespace

struct Server::Impl {
  Authority authority;
  std::function<std::time_t()> now;
  KeyPtr key;
  LeafCache cache;
  SslContextPtr context;
};

Server::Server(Authority authority, ServerLimits limits) {
  auto key = make_key();
  PINHOLE_CHECK(key.has_value());
  if (!limits.now) limits.now = [] { return std::time(nullptr); };
  impl_ = std::make_unique<Impl>(Impl{.authority = std::move(authority),
                                      .now = std::move(limits.now),
                                      .key = *std::move(key),
                                      .cache = LeafCache(limits.leaves),
                                      .context = make_server_context()});
}
Server::Server(Server&& other) noexcept = default;
Server& Server::operator=(Server&& other) noexcept = default;
Server::~Server() = default;

Result<Stream> Server::accept(const std::string& name, bool is_ip,
                              std::span<const std::string> alpn_offer, Transport& transport) {
  PINHOLE_TRY(X509* const leaf, impl_->cache.find(impl_->authority.parts(), impl_->key.get(), name,
                                                  is_ip, impl_->now()));
  auto impl = std::make_unique<Stream::Impl>(impl_->context.get(), transport);
  SSL* ssl = impl->ssl.get();
  impl->alpn = alpn_wire(alpn_offer);
  // The certificate first: a key that is there is checked against it.
  PINHOLE_CHECK(SSL_use_certificate(ssl, leaf) == 1);
  PINHOLE_CHECK(SSL_use_PrivateKey(ssl, impl_->key.get()) == 1);
  // A ticket carries this, and one with another is not taken.
  Sha256 hash;
  hash.update(is_ip ? std::string_view("ip ") : std::string_view("dns "));
  hash.update(name);
  const Sha256Digest context = hash.finish();
  static_assert(sizeof context <= SSL_MAX_SID_CTX_LENGTH);
  PINHOLE_CHECK(SSL_set_session_id_context(ssl, context.data(), context.size()) == 1);
  SSL_set_accept_state(ssl);
  return Stream(std::move(impl));
}

std::size_t Server::leaves() const { return impl_->cache.size(); }
const Authority& Server::authority() const { return impl_->authority; }

}  // namespace pinhole::tls
