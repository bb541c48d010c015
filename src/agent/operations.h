// SPDX-License-Identifier: Apache-2.0
// The agent's side of port 441 (wire/operation.h): each connection from the host is one operation.
#pragma once

#include <memory>

#include "agent/settings.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// At most so many at a time; one more is told "busy" at once.
inline constexpr std::size_t kOperations = 128;

/// Listens for ever; a port that cannot be had yet is tried again.
asio::awaitable<void> run_operations(std::shared_ptr<const Settings> settings);

}  // namespace pinhole::agent
