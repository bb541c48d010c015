// SPDX-License-Identifier: Apache-2.0
// The operation `exec`: a program's streams over frames, until it ends or the host goes away.
#pragma once

#include <memory>

#include "agent/endpoint.h"
#include "wire/frame.h"
#include "wire/operation.h"

namespace pinhole::agent {

/// What a connection is once its request was read: the stream, and bytes after the request that
/// came with it.
struct Connection {
  Stream stream;
  wire::FrameReader frames;
};

/// Runs the program and talks to the host meanwhile. Returns what to reply; nothing when the host
/// went away or broke the protocol, and then the process group is dead and there is nobody to tell.
asio::awaitable<std::optional<wire::Reply>> run_exec(std::shared_ptr<Connection> connection,
                                                     wire::ExecRequest request);

}  // namespace pinhole::agent
