// SPDX-License-Identifier: Apache-2.0
// The stages of the way up, as seen from inside, and the two markers that are their evidence.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "agent/capture.h"
#include "agent/fetch.h"
#include "agent/journal.h"
#include "agent/settings.h"
#include "wire/hello.h"

namespace pinhole::agent {

/// Runs every stage that the welcome asks for (agent, cloud-init, workspace, door) and adds each to
/// the journal when it has ended. boot-ok.txt is made when all but the door were all right,
/// vsock-fetch.out after the door's fetches; both lie in settings.run_dir, in the workspace when
/// the welcome says so, and in the journal. `network` is how the loopback's set-up went.
asio::awaitable<void> run_stages(std::shared_ptr<const Settings> settings, wire::Welcome welcome,
                                 Result<void> network, std::shared_ptr<Journal> journal,
                                 std::shared_ptr<CaptureService> capture);

/// One line of vsock-fetch.out.
std::string fetch_line(const wire::FetchTask& task, const Result<FetchResult>& outcome);

/// /proc/sys/kernel/random/boot_id, or "unknown".
std::string boot_id();
/// Since the kernel started, suspension included.
std::chrono::milliseconds uptime();

}  // namespace pinhole::agent
