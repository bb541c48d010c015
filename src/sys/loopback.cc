// SPDX-License-Identifier: Apache-2.0
#include "sys/loopback.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace pinhole::sys {

Result<Fd> listen_loopback(std::uint16_t port, int backlog) {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail("no TCP sockets: {}", errno_text(errno));
  // Connections of a listener before this one may still be ending.
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::listen(listener.get(), backlog) == 0)
    return listener;
  return fail("cannot listen on 127.0.0.1:{}: {}", port, errno_text(errno));
}

}  // namespace pinhole::sys
