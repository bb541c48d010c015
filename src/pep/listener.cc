// SPDX-License-Identifier: Apache-2.0
#include "pep/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "http/address.h"
#include "sys/unix_socket.h"

namespace pinhole::pep {
namespace {

constexpr int kBacklog = 128;  // as sys::listen_unix()

/// A socket address of the kernel's, of whatever family.
struct Name {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(sockaddr_storage);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Name to_name(const http::Endpoint& endpoint) {
  Name name;
  const auto& bytes = endpoint.address.bytes;
  if (endpoint.address.is_v6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    std::copy_n(bytes.begin(), 16, v6.sin6_addr.s6_addr);
    name.size = sizeof v6;
    std::memcpy(&name.storage, &v6, sizeof v6);
    return name;
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(endpoint.port);
  std::memcpy(&v4.sin_addr, bytes.data(), 4);
  name.size = sizeof v4;
  std::memcpy(&name.storage, &v4, sizeof v4);
  return name;
}

/// Where a socket is bound; nothing for one that is not of the internet.
Result<std::optional<http::Endpoint>> bound_to(int socket) {
  Name name;
  if (::getsockname(socket, name.get(), &name.size) != 0)
    return fail("it is not a socket: {}", errno_text(errno));
  http::Endpoint endpoint;
  if (name.storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &name.storage, sizeof v4);
    std::memcpy(endpoint.address.bytes.data(), &v4.sin_addr, 4);
    endpoint.port = ntohs(v4.sin_port);
    return endpoint;
  }
  if (name.storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &name.storage, sizeof v6);
    endpoint.address.is_v6 = true;
    std::copy_n(v6.sin6_addr.s6_addr, 16, endpoint.address.bytes.begin());
    endpoint.port = ntohs(v6.sin6_port);
    return endpoint;
  }
  if (name.storage.ss_family != AF_UNIX) return fail("it is neither of the internet nor local");
  return std::nullopt;
}

Result<Listener> listen_tcp(const http::Endpoint& endpoint) {
  const std::string wanted = http::to_string(endpoint);
  const int family = endpoint.address.is_v6 ? AF_INET6 : AF_INET;
  Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail("cannot listen on {}: {}", wanted, errno_text(errno));
  // Connections of a door before this one may still be ending.
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  Name name = to_name(endpoint);
  if (::bind(socket.get(), name.get(), name.size) != 0 || ::listen(socket.get(), kBacklog) != 0)
    return fail("cannot listen on {}: {}", wanted, errno_text(errno));
  PINHOLE_TRY(const auto bound, bound_to(socket.get()));
  return Listener{.socket = std::move(socket), .place = http::to_string(bound.value_or(endpoint))};
}

Result<Listener> take_inherited(const Options& options) {
  PINHOLE_TRY(Fd socket, inherited(*options.listen_fd));
  const std::string place = fmt::format("fd:{}", *options.listen_fd);
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens != 1)
    return fail("--listen {}: that is not a listening socket", place);
  const auto bound = bound_to(socket.get());
  if (!bound) return fail(Error(bound.error()).context("--listen " + place));
  if (const auto& endpoint = *bound) {
    if (http::classify(endpoint->address).name != "loopback") {
      return fail("--listen {}: {} is not a loopback address", place, http::to_string(*endpoint));
    }
    if (options.token_file.empty()) {
      return fail("--listen {}: a socket of the internet needs --token-file FILE", place);
    }
  }
  return Listener{.socket = std::move(socket), .place = place};
}

}  // namespace

Result<Fd> inherited(int number) {
  if (::fcntl(number, F_SETFD, FD_CLOEXEC) != 0) return fail("descriptor {} is not open", number);
  const int flags = ::fcntl(number, F_GETFL);
  ::fcntl(number, F_SETFL, flags | O_NONBLOCK);
  return Fd(number);
}

Result<Listener> open_listener(const Options& options) {
  if (options.listen_fd) return take_inherited(options);
  if (options.listen_tcp) return listen_tcp(*options.listen_tcp);
  PINHOLE_TRY(Fd socket, sys::listen_unix(options.listen_path));
  return Listener{.socket = std::move(socket), .place = "unix:" + options.listen_path.string()};
}

}  // namespace pinhole::pep
