// SPDX-License-Identifier: Apache-2.0
// What the host asks the guest to try, so that isolation is proved from the inside too. Results are
// observations; the host judges them.
#pragma once

#include <memory>

#include "agent/settings.h"
#include "wire/operation.h"

namespace pinhole::agent {

/// Runs them one after the other.
asio::awaitable<wire::ProbeReply> run_probes(std::shared_ptr<const Settings> settings,
                                             std::vector<wire::Probe> probes);

}  // namespace pinhole::agent
