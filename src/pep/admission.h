// SPDX-License-Identifier: Apache-2.0
// The steps between a parsed request and its first byte upstream, the same for every way in:
// decide -> write the decision down -> resolve once -> judge every address.
#pragma once

#include <expected>
#include <optional>
#include <string_view>
#include <vector>

#include "http/address.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/door.h"
#include "policy/policy.h"

namespace pinhole::pep {

/// What the policy says, with the reason and the fix of a refusal. `rule` of the note is set; nothing
/// is written down yet. `declared_body` is the request's Content-Length.
std::expected<policy::Verdict, Refusal> judge(const Door& door, const policy::Request& request,
                                              RequestNote& note, std::uint64_t declared_body);

/// Takes what the rule's and the door's limits give, for as long as the Slot lives; `rate_limited`
/// when they give nothing now.
std::expected<Limiter::Slot, Refusal> admit(Door& door, const policy::Verdict& verdict);

/// Writes down that `note`'s request goes on. A refusal if that could not be written.
std::optional<Refusal> record_allowed(Door& door, const RequestNote& note);

/// Writes a refusal down that was decided on before a rule could speak (a request that does not
/// parse).
Refusal record_refusal(Door& door, const RequestNote& note, Refusal refusal);

/// Where a connection to host:port may lead: the address of its `internal:` line, or all its
/// addresses if every one is public; with an upstream proxy that proxy's (upstream_proxy.h). Only
/// for what decide() allowed.
asio::awaitable<std::expected<std::vector<http::Endpoint>, Refusal>> find_addresses(
    Door* door, http::Host host, std::uint16_t port);

}  // namespace pinhole::pep
