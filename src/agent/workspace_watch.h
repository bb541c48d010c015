// SPDX-License-Identifier: Apache-2.0
// Shared folders after a file server was started again. The host takes its device out and plugs a new
// one in; what is mounted then belongs to the old one and gives errors, for ever.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/journal.h"
#include "agent/settings.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// Which virtiofs devices there are, as text that changes whenever one is plugged in or taken out.
/// Empty: none. Asks nothing of the file systems on them.
std::string workspace_devices(const std::filesystem::path& root);

/// Mounts each of the shares again when its device was replaced, and adds a stage `workspace` to the
/// journal that says so. Ends when nobody else holds the journal any more. `nonce` names the file by
/// which a new mount of the workspace is proved.
asio::awaitable<void> watch_shares(std::shared_ptr<const Settings> settings,
                                   std::vector<wire::Mount> shares, std::string nonce,
                                   std::shared_ptr<Journal> journal);

}  // namespace pinhole::agent
