// SPDX-License-Identifier: Apache-2.0
// Where the agent's streams lead: a vsock port in a VM, or a unix socket in its place, so that the
// same program can be driven without a VM.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>

#include "base/error.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// vsock(7)'s CIDs that this program speaks of.
inline constexpr std::uint32_t kHostCid = 2;
inline constexpr std::uint32_t kAnyCid = 0xFFFFFFFF;

struct VsockAddress {
  std::uint32_t cid = 0;
  std::uint32_t port = 0;
  bool operator==(const VsockAddress&) const = default;
};
struct UnixPath {
  std::string path;
  bool operator==(const UnixPath&) const = default;
};
using Endpoint = std::variant<VsockAddress, UnixPath>;

using Stream = asio::generic::stream_protocol::socket;
using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

/// "unix:/path" or "vsock:CID:PORT".
Result<Endpoint> parse_endpoint(std::string_view text);
std::string endpoint_text(const Endpoint& endpoint);

/// A connected stream; the error's code is "unreachable". Anything that goes wrong (no vsock driver
/// yet, nobody there, ENOMEM from a transport that is gone) is the same to a caller: try again
/// later.
asio::awaitable<Result<Stream>> connect_stream(Endpoint endpoint, std::chrono::milliseconds limit);

Result<Acceptor> listen_stream(const asio::any_io_executor& executor, const Endpoint& endpoint);

/// Whether the other end of an accepted connection is the host: CID 2, or any unix socket.
bool peer_is_host(const Stream& stream);

}  // namespace pinhole::agent
