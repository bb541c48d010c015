// SPDX-License-Identifier: Apache-2.0
// What is inside a Stream. For this module's .cc files and tests.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tls/openssl.h"
#include "tls/stream.h"

namespace pinhole::tls {

/// Handshake messages that a peer may send in a connection's life. A handshake has about ten; then
/// come session tickets and one key update in 2^24 records. Each costs us key derivations.
inline constexpr int kMostHandshakeMessages = 1024;

/// A Transport as OpenSSL sees it, and what it said.
struct Wire {
  Transport* transport = nullptr;
  bool ended = false;    // receive() gave kEnd
  bool broken = false;   // or either gave kError
  bool flooded = false;  // the peer sent too many handshake messages
};

/// A BIO over `wire`, which must outlive it.
BioPtr make_bio(Wire& wire);

struct Stream::Impl {
  Impl(SSL_CTX* context, Transport& transport);

  /// The status of a call that returned `result`; notes the reason of a failure.
  Status conclude(int result);
  Status note_failure(std::string why);

  Wire wire;
  std::string alpn;  // what a server takes, as in the protocol
  std::string error;
  int handshake_messages = 0;
  bool failed = false;
  bool established = false;  // the handshake was ok once
  bool starved = false;      // the last read wanted more
  bool said_goodbye = false;
  SslPtr ssl;  // last: it uses the wire until it is gone
};

/// Options that both sides share.
SslContextPtr make_context(const SSL_METHOD* method);

/// Protocol names with their lengths (RFC 7301 §3.1); names that do not fit are our bug.
std::string alpn_wire(std::span<const std::string> names);

}  // namespace pinhole::tls
