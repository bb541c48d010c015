// SPDX-License-Identifier: Apache-2.0
// The operation `dial`: bytes between the host and a port of the guest's own loopback.
#pragma once

#include <memory>
#include <optional>

#include "agent/channel.h"
#include "wire/operation.h"

namespace pinhole::agent {

/// 127.0.0.1, then ::1. Error code "refused" when nobody listens. Nothing when the host went away or
/// broke the protocol.
asio::awaitable<std::optional<wire::Reply>> run_dial(std::shared_ptr<Connection> connection,
                                                     wire::DialRequest request);

}  // namespace pinhole::agent
