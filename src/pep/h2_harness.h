// SPDX-License-Identifier: Apache-2.0
// HTTP/2 for the door's tests: nghttp2's own client over any Peer, and the door's session by itself.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "http/header.h"
#include "pep/h2_session.h"
#include "pep/harness.h"

namespace pinhole::pep::testing {

using Fields = std::vector<http::Header>;

/// An H2Session over one end of a socket pair, in a thread.
class H2Door {
 public:
  explicit H2Door(const std::string& policy, Times times = {}, std::optional<Inside> inside = {},
                  std::string_view token = {});
  ~H2Door() { stop(); }
  H2Door(const H2Door&) = delete;
  H2Door& operator=(const H2Door&) = delete;

  Peer peer() { return Peer(std::move(peer_)); }
  void in_thread(std::function<void(H2Session&)> step);
  void stop();
  /// Waits until the session has ended by itself.
  void join() { thread_.join(); }
  [[nodiscard]] bool ended() const { return ended_; }
  std::string audit_text();

 private:
  sys::TempDir folder_ = sys::TempDir::make().value();
  asio::io_context context_{1};
  std::unique_ptr<Door> door_;
  std::unique_ptr<Connection> guest_;
  std::unique_ptr<H2Session> session_;
  Fd peer_;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

struct Reply {
  int status = 0;
  Fields headers;
  Fields trailers;
  std::string body;
  bool closed = false;
  std::uint32_t error = 0;
  [[nodiscard]] std::string header(std::string_view name) const;
};

/// nghttp2's client, blocking. It sends whatever it is given, well-formed or not.
class H2Peer {
 public:
  explicit H2Peer(Peer peer);
  ~H2Peer() { nghttp2_session_del(wire_); }
  H2Peer(const H2Peer&) = delete;
  H2Peer& operator=(const H2Peer&) = delete;

  std::int32_t submit(const Fields& fields, const std::string* body = nullptr);
  /// Sends, and reads until `done`; false when the connection ended before.
  bool pump(const std::function<bool()>& done);
  bool send_pending();
  Reply ask(const Fields& fields, const std::string* body = nullptr);
  nghttp2_session* wire() { return wire_; }
  /// The connection below; what is sent there goes past nghttp2.
  Peer& below() { return peer_; }
  /// Until the other side ends the connection.
  void read_to_end();

  std::map<std::int32_t, Reply> replies;
  std::optional<std::uint32_t> goaway;

 private:
  struct Upload {
    std::string body;
    std::size_t sent = 0;
  };
  struct Callbacks;

  Peer peer_;
  nghttp2_session* wire_ = nullptr;
  std::list<Upload> uploads_;
};

/// A request to http://origin.test.
Fields h2_request(std::string_view method, std::string_view path, const Fields& more = {});

/// A frame as it stands on the wire (RFC 9113 §4.1).
std::string h2_frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                     std::string_view payload);
/// What a client's connection begins with, its SETTINGS empty.
std::string h2_preface();

}  // namespace pinhole::pep::testing
