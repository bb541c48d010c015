// SPDX-License-Identifier: Apache-2.0
// The operations `read-files` and `write-files`. A file system may stall for ever, so a second
// process of this program does the work (agent/files_helper.h); its streams are the frames.
#pragma once

#include <memory>
#include <optional>

#include "agent/channel.h"
#include "agent/settings.h"
#include "wire/operation.h"

namespace pinhole::agent {

/// Both: nothing when the host went away or broke the protocol.
asio::awaitable<std::optional<wire::Reply>> run_read_files(std::shared_ptr<const Settings> settings,
                                                           std::shared_ptr<Connection> connection,
                                                           wire::ReadFilesRequest request);
asio::awaitable<std::optional<wire::Reply>> run_write_files(
    std::shared_ptr<const Settings> settings, std::shared_ptr<Connection> connection,
    wire::WriteFilesRequest request);

}  // namespace pinhole::agent
