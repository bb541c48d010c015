// SPDX-License-Identifier: Apache-2.0
#include "sys/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pinhole::sys {
namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.empty() || text.size() >= sizeof(address.sun_path)) {
    return fail(
        Error{.message = fmt::format("socket path {} has {} bytes; the kernel takes at most {}",
                                     text, text.size(), sizeof(address.sun_path) - 1),
              .fix = "choose a shorter folder (XDG_RUNTIME_DIR) or a shorter name"});
  }
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

Fd stream_socket(int flags) { return Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)); }

int connect_to(int fd, const sockaddr_un& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

}  // namespace

Result<Fd> listen_unix(const std::filesystem::path& path, int backlog) {
  PINHOLE_TRY(const sockaddr_un address, address_of(path));
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode))
      return fail("cannot listen on {}: something else is there", path.string());
    if (connect_unix(path)) return fail("cannot listen on {}: it is already in use", path.string());
    ::unlink(path.c_str());
  }
  Fd listener = stream_socket(SOCK_NONBLOCK);
  if (!listener) return fail("cannot create a socket: {}", errno_text(errno));
  const mode_t old_mask = ::umask(0177);
  const int bound =
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int error = errno;
  ::umask(old_mask);
  if (bound != 0) return fail("cannot listen on {}: {}", path.string(), errno_text(error));
  if (::listen(listener.get(), backlog) != 0)
    return fail("cannot listen on {}: {}", path.string(), errno_text(errno));
  return listener;
}

Result<Fd> connect_unix(const std::filesystem::path& path) {
  PINHOLE_TRY(const sockaddr_un address, address_of(path));
  Fd socket = stream_socket(0);
  if (!socket) return fail("cannot create a socket: {}", errno_text(errno));
  if (connect_to(socket.get(), address) != 0)
    return fail("cannot connect to {}: {}", path.string(), errno_text(errno));
  return socket;
}

ConnectResult try_connect_unix(const std::filesystem::path& path) {
  const auto address = address_of(path);
  if (!address) return {};
  Fd socket = stream_socket(SOCK_NONBLOCK);
  if (!socket) return {ConnectOutcome::busy, {}};  // out of descriptors: the same remedy, wait
  if (connect_to(socket.get(), *address) == 0)
    return {ConnectOutcome::connected, std::move(socket)};
  return {errno == EAGAIN ? ConnectOutcome::busy : ConnectOutcome::refused, {}};
}

void set_blocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK); }
void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

Result<std::pair<Fd, Fd>> socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail("cannot create a socket pair: {}", errno_text(errno));
  }
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<std::pair<Fd, Fd>> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return fail("cannot create a pipe: {}", errno_text(errno));
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<Fd> peer_process(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return fail("cannot tell who listens: {}", errno_text(errno));
  }
  Fd process(static_cast<int>(::syscall(SYS_pidfd_open, credentials.pid, 0)));
  if (!process) return fail("cannot watch process {}: {}", credentials.pid, errno_text(errno));
  return process;
}

Result<std::uint32_t> peer_uid(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return fail("cannot tell who connected: {}", errno_text(errno));
  }
  return credentials.uid;
}

}  // namespace pinhole::sys
