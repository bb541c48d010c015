// SPDX-License-Identifier: Apache-2.0
// One request, whichever way it came in: decided, written down, its secrets put in, carried out, its
// end written down.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "http/request.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/carrier.h"
#include "pep/client.h"
#include "pep/door.h"
#include "sys/asio.h"

namespace pinhole::pep {

/// Where a guest's connection leads after a CONNECT that is looked into; all requests in it are for
/// this place.
struct Inside {
  http::Scheme scheme = http::Scheme::https;
  http::Host host;
  std::uint16_t port = 443;
  /// What the CONNECT said of the program: what it says itself in there is not the agent's word.
  std::optional<http::ClientClaim> claim = {};
};

struct Served {
  /// Set when nothing of an answer went to the guest yet: it gets this one.
  std::optional<Refusal> refusal = {};
  /// The answer is out, from its first byte to its last.
  bool whole = false;
};

/// A request whose head was read: counted, with an id and its redacted URL.
RequestNote begin_request(Door& door, const http::RequestHead& head,
                          const std::optional<Inside>& inside);
/// One that could not be read: the refusal is written down.
Refusal refuse_unread(Door& door, RequestNote& note, const http::Fault& fault,
                      const std::optional<Inside>& inside);

/// `carrier`, `head`, `note` and `client` must stay until it returns. Not for CONNECT.
asio::awaitable<Served> serve(Door* door, Carrier* carrier, const http::RequestHead* head,
                              RequestNote* note, Client* client);

/// How the answer to a refusal is dressed.
AnswerContext answer_context(const Door& door, const http::RequestHead* head,
                             const RequestNote& note);

}  // namespace pinhole::pep
