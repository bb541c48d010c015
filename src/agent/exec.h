// SPDX-License-Identifier: Apache-2.0
// The operation `exec`: a program's streams over frames, until it ends or the host goes away.
#pragma once

#include <memory>

#include "agent/channel.h"
#include "agent/settings.h"
#include "sys/cgroup.h"
#include "wire/operation.h"

namespace pinhole::agent {

/// Returns what to reply; nothing when there is nobody to tell (see run_program()).
asio::awaitable<std::optional<wire::Reply>> run_exec(std::shared_ptr<const Settings> settings,
                                                     std::shared_ptr<sys::Cgroups> cgroups,
                                                     std::shared_ptr<Connection> connection,
                                                     wire::ExecRequest request);

/// "failed" where the error has no code.
wire::ErrorReply error_reply(const Error& error);

}  // namespace pinhole::agent
