// SPDX-License-Identifier: Apache-2.0
// Unix stream sockets by path. A path has at most 107 bytes (sun_path); longer ones are a clear
// error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// A listening non-blocking socket, mode 0600. A leftover socket file at `path` that nobody listens
/// on is replaced; one that answers is an error ("already in use").
Result<Fd> listen_unix(const std::filesystem::path& path, int backlog = 128);

/// A connected blocking socket.
Result<Fd> connect_unix(const std::filesystem::path& path);

/// A non-blocking connect that never waits. `busy` is EAGAIN: the listener's backlog is full; try
/// again later.
enum class ConnectOutcome { connected, busy, refused };
struct ConnectResult {
  ConnectOutcome outcome = ConnectOutcome::refused;
  Fd socket;
};
ConnectResult try_connect_unix(const std::filesystem::path& path);

/// For a program that is handed the descriptor and expects its calls to wait.
void set_blocking(int fd);
void set_nonblocking(int fd);

/// Both ends of a stream socket pair, CLOEXEC.
Result<std::pair<Fd, Fd>> socket_pair();
/// Read end, write end, CLOEXEC.
Result<std::pair<Fd, Fd>> make_pipe();

/// A pidfd of the process that listens at the other end (SO_PEERCRED): readable once that process has ended.
Result<Fd> peer_process(int socket);

/// The uid of the process that opened the other end (SO_PEERCRED).
Result<std::uint32_t> peer_uid(int socket);

}  // namespace pinhole::sys
