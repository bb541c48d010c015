// SPDX-License-Identifier: Apache-2.0
// Real sockets for the proxy's tests: an origin that follows a script, a client that speaks raw
// bytes, and the proxy itself in a thread. Blocking, with a deadline on every wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "pep/canary.h"
#include "pep/door.h"
#include "pep/server.h"
#include "sys/files.h"

namespace pinhole::pep::testing {

/// A connected socket. Reads give up (and return what came) after kPatience.
class Peer {
 public:
  static constexpr std::chrono::seconds kPatience{20};
  explicit Peer(Fd socket);
  /// False when the other end is gone.
  bool send(std::string_view bytes);
  /// Up to and with `end`; "" when the stream ended before.
  std::string read_until(std::string_view end);
  std::string read_exactly(std::size_t count);
  std::string read_all();
  /// What is there, at least one byte; "" at the end of the stream.
  std::string read_some();
  /// Speaks TLS from now on, and trusts the authority in `ca` alone. False when the handshake failed.
  bool start_tls(const std::filesystem::path& ca, const std::string& name,
                 std::vector<std::string> alpn = {"http/1.1"});
  /// The other end of that.
  bool accept_tls(tls::Server& server, const std::string& name, std::vector<std::string> alpn);
  /// True when nothing can be sent for a while because the other side does not read.
  bool is_held_back();
  /// The end of what the other side sends was reached, and nothing was left.
  bool at_end();
  void half_close();
  void close() { socket_.reset(); }
  [[nodiscard]] int fd() const { return socket_.get(); }

 private:
  struct Tls;
  bool run_tls(std::shared_ptr<Tls> wire);
  bool fill();
  Fd socket_;
  std::shared_ptr<Tls> tls_;
  std::string pending_;
};

/// An HTTP answer as the client sees it.
struct Answer {
  std::string head;
  std::string body;
  bool whole = false;  // its framing was complete
  [[nodiscard]] int status() const;
  [[nodiscard]] std::string header(std::string_view name) const;
};
Answer read_answer(Peer& peer, bool head_request = false);

/// Listens on loopback; each connection runs `serve` in a thread of its own.
class Origin {
 public:
  using Serve = std::function<void(Peer&)>;
  explicit Origin(Serve serve);
  ~Origin();
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  Fd listener_;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_ = 0;
  std::vector<std::jthread> threads_;
  std::jthread acceptor_;
};

/// Reads heads and answers each with `answer(head)`, until the connection ends.
Origin::Serve answer_each(std::function<std::string(const std::string& head)> answer);
std::string ok(std::string_view body);

/// A server's certificates, by an authority of their own. Any thread.
class TlsSide {
 public:
  /// `now`: the clock that the certificates are dated by.
  explicit TlsSide(std::function<std::time_t()> now = {});
  bool accept(Peer& peer, const std::string& name, std::vector<std::string> alpn);
  [[nodiscard]] std::filesystem::path ca_file() const { return folder_.path() / "ca.pem"; }

 private:
  sys::TempDir folder_;
  std::mutex mutex_;
  std::optional<tls::Server> server_;
};
/// `serve` behind TLS in the name of origin.test. `side` must stay.
Origin::Serve over_tls(TlsSide& side, Origin::Serve serve,
                       std::vector<std::string> alpn = {"http/1.1"},
                       std::string name = "origin.test");

/// The proxy with a policy, on a unix socket, in a thread.
class Proxy {
 public:
  struct Setup {
    std::string policy;
    Times times = {};
    std::filesystem::path audit = {};  // a file in the folder where empty
    bool canary = false;
    bool authority = false;  // looks into TLS; see ca_file()
    std::string token = {};  // each request to the proxy has to show it
    /// Values of the policy's secrets, by name; only with an authority.
    std::map<std::string, std::string> secrets = {};
  };
  explicit Proxy(Setup setup);
  ~Proxy() { stop(); }
  Peer connect();
  /// connect() + CONNECT host:port + TLS with it, which the proxy looks into. Closed where one of
  /// these failed.
  Peer enter(const std::string& host, std::uint16_t port, std::vector<std::string> alpn);
  /// connect() + send() + read_answer() on a connection of its own.
  Answer ask(std::string_view request);
  /// Ends it in order; the audit log is sealed then.
  void stop();
  std::string audit_text();
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_.path(); }
  /// What is true inside; runs in the proxy's thread.
  Stats stats();
  std::size_t sessions();
  /// The certificate that clients inside a CONNECT have to trust.
  [[nodiscard]] std::filesystem::path ca_file() const { return folder_.path() / "ca.pem"; }
  /// What the guest has in the secret's place.
  [[nodiscard]] std::string placeholder(std::string_view name) const;
  [[nodiscard]] std::uint16_t canary_port() const { return canary_->port(); }

 private:
  sys::TempDir folder_;
  asio::io_context context_{1};
  std::filesystem::path audit_;
  std::optional<Canary> canary_;
  std::unique_ptr<Door> door_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

/// A policy whose `allow:` list is `allow`, with origin.test:80 and :443 leading to `port` on
/// loopback.
std::string policy_for(std::uint16_t port, std::string_view allow, std::string_view more = "");

/// A whole ClientHello record for `server_name`; with ECH where asked.
std::string client_hello(std::string_view server_name, bool ech = false);

}  // namespace pinhole::pep::testing
