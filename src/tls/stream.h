// SPDX-License-Identifier: Apache-2.0
// TLS as a state machine over any transport: the PEP's end towards the guest (Server), and its end
// towards an origin (Client). No sockets, no waiting, no threads; OpenSSL stays behind this header.
#pragma once

#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tls/authority.h"
#include "tls/trust_store.h"

namespace pinhole::tls {

/// The encrypted side of a Stream, which calls it only from inside its own calls. Both return the
/// number of bytes moved (> 0) or one of the constants. A non-blocking socket fits.
class Transport {
 public:
  static constexpr std::ptrdiff_t kEnd = 0;
  static constexpr std::ptrdiff_t kWouldBlock = -1;
  static constexpr std::ptrdiff_t kError = -2;

  virtual ~Transport() = default;
  virtual std::ptrdiff_t receive(std::span<char> room) = 0;
  virtual std::ptrdiff_t send(std::string_view bytes) = 0;
};

/// What a Stream's call came to. After want_read or want_write wait until the transport may have
/// bytes or room, then call the same again.
enum class Status {
  ok,
  want_read,
  want_write,
  closed,  ///< the peer's close_notify, or the end of the transport: see truncated()
  failed,  ///< see error(); nothing works any more
};

/// One connection. The transport must outlive it; the Server or Client need not. After `ok`, `read`
/// and `write` say in `count` how much they did, at least one byte of a span that is not empty.
class Stream {
 public:
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  /// `ok` when done; read() and write() may be called only then.
  Status handshake();
  Status read(std::span<char> room, std::size_t& count);
  /// Takes a part of long texts. After want_write the same bytes must come again, from anywhere in
  /// memory.
  Status write(std::string_view bytes, std::size_t& count);
  /// Sends close_notify: this side writes no more and may go on reading.
  Status shutdown();

  /// The agreed protocol ("h2", "http/1.1"); empty without ALPN.
  [[nodiscard]] std::string alpn() const;
  /// Why `failed`, readable and printable.
  [[nodiscard]] const std::string& error() const;
  /// The transport ended without close_notify: something may be missing.
  [[nodiscard]] bool truncated() const;
  [[nodiscard]] bool resumed() const;
  /// Bytes from the transport are inside and were not looked at: read before waiting for more.
  [[nodiscard]] bool pending() const;
  /// "TLSv1.3"; after the handshake.
  [[nodiscard]] std::string version() const;

  struct Impl;  // in tls/connection.h
 private:
  friend class Server;
  friend class Client;
  explicit Stream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

inline constexpr std::size_t kMostLeaves = 1024;

struct ServerLimits {
  std::size_t leaves = kMostLeaves;       ///< certificates kept ready, about 2 KB each
  std::function<std::time_t()> now = {};  ///< the clock that leaves are dated by; the host's
};

/// Accepts as whichever name the client asked for, with a leaf certificate by the authority.
/// TLS 1.2 and 1.3, forward secrecy and AEAD only, resumption by tickets, no renegotiation, no
/// compression, no early data. One thread.
class Server {
 public:
  explicit Server(Authority authority, ServerLimits limits = {});
  Server(Server&& other) noexcept;
  Server& operator=(Server&& other) noexcept;
  ~Server();

  /// `name` is normalised: a lower-case DNS name, or an IP address without brackets. A session of
  /// one name never resumes under another. `alpn_offer` by preference; a client that offers ALPN
  /// and none of these is refused as RFC 7301 §3.2 says, one without ALPN is accepted.
  Result<Stream> accept(const std::string& name, bool is_ip,
                        std::span<const std::string> alpn_offer, Transport& transport);

  /// How many certificates are in the cache.
  [[nodiscard]] std::size_t leaves() const;
  [[nodiscard]] const Authority& authority() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Connects to origins. The certificate is always verified, for exactly the name given.
class Client {
 public:
  Client();
  Client(Client&& other) noexcept;
  Client& operator=(Client&& other) noexcept;
  ~Client();

  /// `name` as for Server::accept(); SNI is sent for DNS names.
  Result<Stream> connect(const TrustStore& trust, const std::string& name, bool is_ip,
                         std::span<const std::string> alpn, Transport& transport);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pinhole::tls
