// SPDX-License-Identifier: Apache-2.0
// Reads the server name out of a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3) without doing TLS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pinhole::http {

/// A longer ClientHello is malformed. Post-quantum ones have about 1.8 KB.
inline constexpr std::size_t kLongestClientHello = 16 << 10;
/// The same with record headers; a client that sends it in crumbs is malformed too.
inline constexpr std::size_t kLongestClientHelloBytes = 32 << 10;

struct ClientHello {
  enum class Status {
    need_more,  ///< a prefix of a possible ClientHello
    complete,
    not_tls,    ///< does not start like a TLS handshake
    malformed,  ///< starts like one and then breaks the rules, or is too long
  };
  Status status = Status::need_more;
  /// As sent, checked to be printable ASCII without blanks; empty where there is no SNI. Compare
  /// after normalise_host().
  std::string server_name = {};
  /// encrypted_client_hello (or the older ESNI) is there: the name may be a cover. Browsers send a
  /// meaningless one (GREASE), which cannot be told from a real one.
  bool has_ech = false;
  std::vector<std::string> alpn = {};
};

/// `bytes` is all that the client has sent so far, from the first byte on. Handshake messages that
/// are spread over several records are put together.
ClientHello read_client_hello(std::span<const std::uint8_t> bytes);

}  // namespace pinhole::http
