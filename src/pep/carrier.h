// SPDX-License-Identifier: Apache-2.0
// What carries an allowed request to its origin, and the answer back.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/address.h"
#include "http/request.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/client.h"
#include "policy/policy.h"
#include "secret/masker.h"
#include "secret/vault.h"
#include "sys/asio.h"

namespace pinhole::pep {

/// What is asked. The head stays the caller's.
struct ExchangeJob {
  const http::RequestHead* head = nullptr;
  /// What goes upstream, where that is not the head's own (secrets were put in). Hop-by-hop fields
  /// are dropped from it.
  const std::vector<http::Header>* headers = nullptr;
  std::string query = {};
  policy::BodyLimits limits;
  std::vector<http::Endpoint> endpoints;  // checked; tried in order until one connects
  bool via_proxy = false;                 // run() finds out: they are the upstream proxy's
  /// What to search the answer for; null: nothing.
  std::shared_ptr<const secret::MaskTable> masks = {};
  /// Puts secrets into the body, whose length is not known then.
  std::optional<secret::BodyRewriter> rewriter = {};
};

struct ExchangeResult {
  ExchangeEnd end;
  /// Set when nothing of an answer went to the guest yet: it gets this one.
  std::optional<Refusal> refusal;
  /// The answer went out from its first byte to its last. If not (and there is no refusal), what
  /// the guest has is to be cut, so that a truncated answer is never taken for a whole one.
  bool whole = false;
};

/// One request at a time.
class Carrier {
 public:
  virtual ~Carrier() = default;
  /// `client` must stay until it returns.
  virtual asio::awaitable<ExchangeResult> run(ExchangeJob job, Client* client) = 0;
  /// The guest closed its connection, or it is to end now.
  virtual void guest_gone() = 0;
  [[nodiscard]] virtual bool running() const = 0;
};

}  // namespace pinhole::pep
