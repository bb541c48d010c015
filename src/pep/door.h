// SPDX-License-Identifier: Apache-2.0
// What all connections of the one guest share: the policy, the log, the way out, the limits, the
// counts.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "pep/audit_log.h"
#include "pep/curl_driver.h"
#include "pep/limiter.h"
#include "pep/proxy_auth.h"
#include "pep/resolver.h"
#include "pep/under_way.h"
#include "policy/policy.h"
#include "secret/vault.h"
#include "sys/asio.h"
#include "tls/stream.h"
#include "tls/trust_store.h"

namespace pinhole::pep {

/// How long each step may take. Idle time between two bytes comes from the policy (limits.idle).
struct Times {
  std::chrono::milliseconds request_head{30'000};  // from its first byte to its last
  std::chrono::milliseconds connect{10'000};       // for each address; pep/dial.h: for each step
  std::chrono::milliseconds first_byte{
      300'000};  // from the request's last byte; models think for minutes
  std::chrono::milliseconds total{std::chrono::hours(24)};
  // From CONNECT to the end of the handshake: an emulated JVM thinks for seconds in between.
  std::chrono::milliseconds client_hello{30'000};
  std::chrono::milliseconds linger{
      2'000};  // a refused sender's remaining bytes are read for this long
  std::chrono::milliseconds grace{2'000};  // running exchanges get this long at the end
  std::chrono::milliseconds tick{250};     // how exactly the limits above and `idle` are kept
};

struct Stats {
  std::uint64_t requests = 0;     // whatever was asked, well-formed or not
  std::uint64_t denied = 0;       // of these, refused by us (4xx); not what origins failed at
  std::uint64_t connections = 0;  // from the guest, all that ever were
};

/// The trust store for each `ca:` file, read once, when first needed.
class TrustStores {
 public:
  /// For a host without a `ca:` give nothing. The pointer stays valid.
  Result<const tls::TrustStore*> find(const std::optional<std::string>& ca_file);

 private:
  std::map<std::string, tls::TrustStore> stores_;
};

/// Owned by the server; every session holds a reference and ends before it.
struct Door {
  Door(asio::io_context& io, policy::Policy rules, AuditLog log, Times limits,
       Resolver::Settings names = {})
      : context(io),
        policy(std::move(rules)),
        audit(std::move(log)),
        times(limits),
        resolver(io, std::move(names)),
        curl(io) {
    follow_audit_settings();
  }

  /// After `policy` was replaced.
  void follow_audit_settings() {
    using Asked = policy::AuditSettings::Sync;
    const Asked asked = policy.audit().sync;
    audit.set_sync(asked == Asked::each    ? audit::Sync::each
                   : asked == Asked::batch ? audit::Sync::batch
                                           : audit::Sync::off);
  }

  asio::io_context& context;
  policy::Policy policy;  // a reload replaces it; nobody keeps a reference over a co_await
  AuditLog audit;
  const Times times;
  Resolver resolver;
  CurlDriver curl;
  TrustStores trust;
  /// Where set, each request to the proxy itself has to show it.
  std::optional<ProxyToken> token;
  /// With --authority: accepts TLS in the name of whatever host the guest asked for.
  std::optional<tls::Server> tls_server;
  tls::Client tls_client;
  /// The policy's secrets; a reload makes it anew by make_vault(policy, placeholder_seed, vault).
  /// Empty without --authority.
  secret::Vault vault;
  std::string placeholder_seed;
  Stats stats;
  Limiter limiter;
  UnderWayList under_way;
};

}  // namespace pinhole::pep
