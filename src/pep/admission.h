// SPDX-License-Identifier: Apache-2.0
// The steps between a parsed request and its first byte upstream, the same for every way in:
// decide -> write the decision down -> resolve once -> judge every address.
#pragma once

#include <expected>
#include <vector>

#include "http/address.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/door.h"
#include "policy/policy.h"

namespace pinhole::pep {

/// Refuses what the policy does not allow and writes either decision down. A refusal that could not
/// be written down comes back as `audit_unavailable`. `declared_body` is the request's
/// Content-Length.
std::expected<policy::Verdict, Refusal> decide(Door& door, const policy::Request& request,
                                               RequestNote& note, std::uint64_t declared_body);

/// Writes a refusal down that was decided on before a rule could speak (a request that does not
/// parse).
Refusal record_refusal(Door& door, const RequestNote& note, Refusal refusal);

/// Where a connection to host:port may lead: the address of its `internal:` line, or all its
/// addresses if every one is public; with an upstream proxy that proxy's (upstream_proxy.h). Only
/// for what decide() allowed.
asio::awaitable<std::expected<std::vector<http::Endpoint>, Refusal>> find_addresses(
    Door* door, http::Host host, std::uint16_t port);

}  // namespace pinhole::pep
