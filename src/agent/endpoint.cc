// SPDX-License-Identifier: Apache-2.0
#include "agent/endpoint.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// After sys/socket.h: it uses sockaddr.
#include <linux/vm_sockets.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/fd.h"
#include "base/strings.h"
#include "sys/unix_socket.h"

namespace pinhole::agent {
namespace {

constexpr int kBacklog = 64;

asio::generic::stream_protocol::endpoint address_of(const VsockAddress& vsock) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = vsock.cid;
  address.svm_port = vsock.port;
  return {&address, sizeof(address)};
}

asio::generic::stream_protocol::endpoint address_of(const UnixPath& unix_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // parse_endpoint() has checked the length.
  std::memcpy(address.sun_path, unix_path.path.data(), unix_path.path.size());
  return {&address, sizeof(address)};
}

int family_of(const Endpoint& endpoint) {
  return std::holds_alternative<VsockAddress>(endpoint) ? AF_VSOCK : AF_UNIX;
}

/// Linux lets a vsock stream have as much under way as its own buffer holds, in both directions;
/// with its 256 KiB a third of the speed is lost. What a listener is given, its connections inherit.
void widen_window(int fd) {
  constexpr unsigned long long kWindow = 1024 * 1024;
  for (const int option : {SO_VM_SOCKETS_BUFFER_MAX_SIZE, SO_VM_SOCKETS_BUFFER_SIZE}) {
    // Without it everything still works, only slower.
    ::setsockopt(fd, AF_VSOCK, option, &kWindow, sizeof(kWindow));
  }
}

Result<Fd> listen_vsock(const VsockAddress& vsock) {
  Fd listener(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail("no vsock sockets: {}", errno_text(errno));
  widen_window(listener.get());
  const auto address = address_of(vsock);
  if (::bind(listener.get(), address.data(), static_cast<socklen_t>(address.size())) != 0 ||
      ::listen(listener.get(), kBacklog) != 0) {
    return fail("cannot listen on vsock port {}: {}", vsock.port, errno_text(errno));
  }
  return listener;
}

Error unreachable(const Endpoint& endpoint, std::string_view why) {
  return {.message = fmt::format("cannot connect to {}: {}", endpoint_text(endpoint), why),
          .exit_status = 7,
          .code = "unreachable"};
}

/// The result in a shape that with_deadline() can take: its own type, never empty.
asio::awaitable<int> connect_errno(std::shared_ptr<Stream> stream,
                                   asio::generic::stream_protocol::endpoint address) {
  const auto [error] = co_await stream->async_connect(address, as_result);
  co_return error.value();
}

}  // namespace

Result<Endpoint> parse_endpoint(std::string_view text) {
  if (text.starts_with("unix:")) {
    const std::string_view path = text.substr(5);
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) {
      return fail("\"{}\": a socket path has 1 to {} bytes", text,
                  sizeof(sockaddr_un::sun_path) - 1);
    }
    return UnixPath{std::string(path)};
  }
  const auto parts = split(text, ':');
  if (parts.size() == 3 && parts[0] == "vsock") {
    const auto cid = parse_u64(parts[1]);
    const auto port = parse_u64(parts[2]);
    constexpr std::uint64_t kLimit = 0xFFFFFFFF;
    if (cid && port && *cid <= kLimit && *port <= kLimit) {
      return VsockAddress{static_cast<std::uint32_t>(*cid), static_cast<std::uint32_t>(*port)};
    }
  }
  return fail("\"{}\" is neither unix:/path nor vsock:CID:PORT", text);
}

std::string endpoint_text(const Endpoint& endpoint) {
  if (const auto* vsock = std::get_if<VsockAddress>(&endpoint)) {
    return fmt::format("vsock:{}:{}", vsock->cid, vsock->port);
  }
  return "unix:" + std::get<UnixPath>(endpoint).path;
}

asio::awaitable<Result<Stream>> connect_stream(Endpoint endpoint, std::chrono::milliseconds limit) {
  const auto executor = co_await asio::this_coro::executor;
  const int family = family_of(endpoint);
  Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) co_return fail(unreachable(endpoint, errno_text(errno)));
  if (family == AF_VSOCK) widen_window(fd.get());
  const auto stream = std::make_shared<Stream>(executor);
  error_code error;
  stream->assign({family, 0}, fd.release(), error);
  if (error) co_return fail(unreachable(endpoint, error.message()));
  const auto address = std::visit([](const auto& e) { return address_of(e); }, endpoint);
  const std::optional<int> outcome = co_await with_deadline(connect_errno(stream, address), limit);
  if (!outcome) {
    co_return fail(unreachable(endpoint, fmt::format("no answer within {} ms", limit.count())));
  }
  if (*outcome != 0) co_return fail(unreachable(endpoint, errno_text(*outcome)));
  co_return std::move(*stream);
}

Result<Acceptor> listen_stream(const asio::any_io_executor& executor, const Endpoint& endpoint) {
  Fd listener;
  if (const auto* vsock = std::get_if<VsockAddress>(&endpoint)) {
    PINHOLE_TRY(listener, listen_vsock(*vsock));
  } else {
    PINHOLE_TRY(listener, sys::listen_unix(std::get<UnixPath>(endpoint).path));
  }
  Acceptor acceptor(executor);
  error_code error;
  acceptor.assign({family_of(endpoint), 0}, listener.release(), error);
  if (error) return fail("cannot listen on {}: {}", endpoint_text(endpoint), error.message());
  return acceptor;
}

bool peer_is_host(const Stream& stream) {
  error_code error;
  const auto peer = stream.remote_endpoint(error);
  if (error) return false;
  const sockaddr* address = peer.data();
  if (address->sa_family == AF_UNIX) return true;
  if (address->sa_family != AF_VSOCK) return false;
  sockaddr_vm vsock{};
  std::memcpy(&vsock, address, std::min(sizeof(vsock), peer.size()));
  return vsock.svm_cid == kHostCid;
}

}  // namespace pinhole::agent
