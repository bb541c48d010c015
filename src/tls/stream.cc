// SPDX-License-Identifier: Apache-2.0
#include "tls/stream.h"

#include <openssl/err.h>

#include "base/check.h"
#include "base/printable.h"
#include "tls/connection.h"

namespace pinhole::tls {
namespace {

/// An alert that the peer sent (RFC 8446 §6.2), in words.
std::string alert_text(int alert) {
  const std::string name = SSL_alert_desc_string_long(alert);
  switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
      return "the peer does not trust our certificate (" + name + ")";
    case SSL_AD_CERTIFICATE_REQUIRED:
      return "the peer wants a client certificate";
    default:
      return "the peer ended the connection (" + name + ")";
  }
}

/// The cause behind OpenSSL's queue, which is empty afterwards.
std::string queue_text(const SSL* ssl) {
  std::string first;
  while (const unsigned long code = ERR_get_error()) {
    const int reason = ERR_GET_REASON(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
      if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        first = X509_verify_cert_error_string(SSL_get_verify_result(ssl));
        break;
      }
      if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) {
        first = alert_text(reason - SSL_AD_REASON_OFFSET);
        break;
      }
      if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) {
        first = "the peer does not speak TLS";
        break;
      }
    }
    if (first.empty()) {
      const char* text = ERR_reason_error_string(code);
      first = text == nullptr ? "TLS error " + std::to_string(reason) : text;
    }
  }
  ERR_clear_error();
  return first.empty() ? "no reason given" : first;
}

/// Counts what the peer makes us work for.
void on_message(int is_ours, int /*version*/, int type, const void* /*bytes*/, std::size_t /*size*/,
                SSL* ssl, void* /*data*/) {
  if (is_ours != 0 || type != SSL3_RT_HANDSHAKE) return;
  auto* impl = static_cast<Stream::Impl*>(SSL_get_app_data(ssl));
  if (impl != nullptr && ++impl->handshake_messages > kMostHandshakeMessages)
    impl->wire.flooded = true;
}

}  // namespace

SslContextPtr make_context(const SSL_METHOD* method) {
  SslContextPtr made(SSL_CTX_new(method));
  PINHOLE_CHECK(made != nullptr);
  SSL_CTX* context = made.get();
  PINHOLE_CHECK(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
  PINHOLE_CHECK(SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_read_ahead(context, 1);  // a record in one receive() instead of two
  SSL_CTX_set_msg_callback(context, on_message);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  return made;
}

std::string alpn_wire(std::span<const std::string> names) {
  std::string wire;
  for (const std::string& name : names) {
    PINHOLE_CHECK(!name.empty() && name.size() <= 255);
    wire += static_cast<char>(name.size());
    wire += name;
  }
  return wire;
}

Stream::Impl::Impl(SSL_CTX* context, Transport& transport)
    : wire{.transport = &transport}, ssl(SSL_new(context)) {
  PINHOLE_CHECK(ssl != nullptr);
  SSL_set_app_data(ssl.get(), this);
  BIO* bio = make_bio(wire).release();
  SSL_set_bio(ssl.get(), bio, bio);
}

Status Stream::Impl::note_failure(std::string why) {
  failed = true;
  error = printable(why);
  return Status::failed;
}

Status Stream::Impl::conclude(int result) {
  if (wire.flooded) {
    ERR_clear_error();
    return note_failure("the peer sent too many handshake messages");
  }
  if (result > 0) return Status::ok;
  const int code = SSL_get_error(ssl.get(), result);
  switch (code) {
    case SSL_ERROR_WANT_READ:
      return Status::want_read;
    case SSL_ERROR_WANT_WRITE:
      return Status::want_write;
    case SSL_ERROR_ZERO_RETURN:
      return Status::closed;
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      if (wire.ended && !wire.broken) return Status::closed;
      return note_failure("the connection broke");
    default:
      return note_failure(queue_text(ssl.get()));
  }
}

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::Stream(Stream&& other) noexcept = default;
Stream& Stream::operator=(Stream&& other) noexcept = default;
Stream::~Stream() = default;

Status Stream::handshake() {
  if (impl_->failed) return Status::failed;
  ERR_clear_error();
  const Status status = impl_->conclude(SSL_do_handshake(impl_->ssl.get()));
  if (status == Status::ok) impl_->established = true;
  return status;
}

Status Stream::read(std::span<char> room, std::size_t& count) {
  count = 0;
  if (impl_->failed) return Status::failed;
  if (room.empty()) return Status::ok;
  // Not SSL_is_init_finished(): a message after the handshake that came by half undoes that, and is
  // the peer's to finish. Reads and writes go on with it by themselves.
  PINHOLE_CHECK(impl_->established);
  ERR_clear_error();
  const int result = SSL_read_ex(impl_->ssl.get(), room.data(), room.size(), &count);
  const Status status = impl_->conclude(result);
  impl_->starved = status == Status::want_read;
  if (status != Status::ok) count = 0;
  return status;
}

Status Stream::write(std::string_view bytes, std::size_t& count) {
  count = 0;
  if (impl_->failed) return Status::failed;
  if (bytes.empty()) return Status::ok;
  PINHOLE_CHECK(impl_->established && !impl_->said_goodbye);
  ERR_clear_error();
  const int result = SSL_write_ex(impl_->ssl.get(), bytes.data(), bytes.size(), &count);
  const Status status = impl_->conclude(result);
  if (status != Status::ok) count = 0;
  return status;
}

Status Stream::shutdown() {
  if (impl_->failed) return Status::failed;
  if (impl_->said_goodbye || SSL_is_init_finished(impl_->ssl.get()) == 0) return Status::ok;
  ERR_clear_error();
  const int result = SSL_shutdown(impl_->ssl.get());
  // 0: sent, and the peer's has not come; whoever wants it reads on.
  const Status status = result == 0 ? Status::ok : impl_->conclude(result);
  if (status == Status::ok) impl_->said_goodbye = true;
  return status;
}

std::string Stream::alpn() const {
  const unsigned char* name = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(impl_->ssl.get(), &name, &length);
  return {reinterpret_cast<const char*>(name), length};
}

const std::string& Stream::error() const { return impl_->error; }

bool Stream::truncated() const {
  const int seen = SSL_get_shutdown(impl_->ssl.get());
  return impl_->wire.ended && (seen & SSL_RECEIVED_SHUTDOWN) == 0;
}

bool Stream::resumed() const { return SSL_session_reused(impl_->ssl.get()) == 1; }

bool Stream::pending() const {
  // With read-ahead a part of a record counts for OpenSSL too, but more reading does not help it.
  return !impl_->failed && !impl_->starved && SSL_has_pending(impl_->ssl.get()) == 1;
}

std::string Stream::version() const { return SSL_get_version(impl_->ssl.get()); }

}  // namespace pinhole::tls
