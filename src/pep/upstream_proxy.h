// SPDX-License-Identifier: Apache-2.0
// `upstream_proxy:`: connections that another HTTP proxy makes for us. It resolves the names, which
// is why the policy then allows only hosts that are spelled exactly; an `internal:` line still leads
// straight to its address.
#pragma once

#include <optional>
#include <string>

#include <boost/asio/ip/tcp.hpp>

#include "pep/door.h"
#include "sys/asio.h"

namespace pinhole::pep {

/// Whether a connection to host:port is the upstream proxy's to make.
bool goes_through_proxy(const Door& door, const http::Host& host, std::uint16_t port);

/// Asks the proxy at the other end of `socket` for a connection to `authority` ("host:port", RFC
/// 9110 §9.3.6). Nothing when it made one: what follows on the socket is the other side's. Else why
/// not, in words. Without a time limit of its own.
asio::awaitable<std::optional<std::string>> ask_proxy(asio::ip::tcp::socket* socket,
                                                      std::string authority);

}  // namespace pinhole::pep
