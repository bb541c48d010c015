// SPDX-License-Identifier: Apache-2.0
// The guest's name server. Every name exists here and has an address of our own (agent/names.h);
// whether it exists in the world, and may be reached, the door says when a connection is made. So
// no question ever leaves the guest, and DNS carries nothing out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/names.h"
#include "base/error.h"
#include "dns/message.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// What the table says of one question. localhost is the loopback (RFC 6761 §6.3); .invalid, .onion
/// (RFC 7686) and the name by which browsers ask whether to avoid us do not exist.
dns::Answer answer_question(Names& names, const dns::Query& query);

/// TCP connections at a time; further ones wait.
inline constexpr std::size_t kDnsConnections = 64;

/// UDP and TCP on an IPv4 address until the executor ends. Port 0 takes a free one. Returns the port.
Result<std::uint16_t> start_dns_server(const asio::any_io_executor& executor,
                                       const std::string& address, std::uint16_t port,
                                       std::shared_ptr<Names> names);

}  // namespace pinhole::agent
