// SPDX-License-Identifier: Apache-2.0
#include "sys/fd_passing.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pinhole::sys {
namespace {

struct alignas(cmsghdr) Control {
  std::array<std::uint8_t, CMSG_SPACE(sizeof(int) * kMaxPassedFds)> bytes{};
};

/// Owns every descriptor of the message at once, so that none leaks whatever follows.
std::vector<Fd> take_fds(msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<ReceivedBytes> receive_with_fds(int socket, std::span<std::uint8_t> into) {
  iovec data{into.data(), into.size()};
  Control control;
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  const ssize_t count = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return ReceivedBytes{};
    if (errno == ECONNRESET) return ReceivedBytes{.kind = ReceivedBytes::Kind::end};
    return fail("cannot receive: {}", errno_text(errno));
  }
  ReceivedBytes received{.kind = count == 0 ? ReceivedBytes::Kind::end : ReceivedBytes::Kind::bytes,
                         .count = static_cast<std::size_t>(count),
                         .fds = take_fds(message)};
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return fail("cannot receive: more than {} descriptors in one message", kMaxPassedFds);
  }
  return received;
}

Result<void> send_with_fds(int socket, std::span<const std::uint8_t> bytes,
                           std::span<const int> fds) {
  if (fds.size() > kMaxPassedFds) return fail("cannot send {} descriptors at once", fds.size());
  Control control;
  iovec data{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(part), fds.data(), sizeof(int) * fds.size());
  }
  const ssize_t count = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0) return fail("cannot send: {}", errno_text(errno));
  if (static_cast<std::size_t>(count) != bytes.size()) return fail("cannot send: socket is full");
  return {};
}

}  // namespace pinhole::sys
