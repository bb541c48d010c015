// SPDX-License-Identifier: Apache-2.0
// The agent's side of port 442 (wire/hello.h): one connection at a time, made again for as long as
// the guest lives.
#pragma once

#include <memory>

#include "agent/settings.h"
#include "base/error.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// Never ends. Runs the boot's stages at the first welcome, and again for a welcome with another
/// nonce. `network` is how the loopback's set-up went; the agent stage says so.
asio::awaitable<void> run_hello(std::shared_ptr<const Settings> settings, Result<void> network);

}  // namespace pinhole::agent
