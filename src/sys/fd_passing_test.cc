// SPDX-License-Identifier: Apache-2.0
#include "sys/fd_passing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

TEST(FdPassing, DescriptorsArriveWithTheirBytesAndAreCloseOnExec) {
  const auto [ours, theirs] = socket_pair().value();
  const auto [read_end, write_end] = make_pipe().value();
  const std::array<std::uint8_t, 3> bytes{1, 2, 3};
  const std::array<int, 2> fds{read_end.get(), write_end.get()};
  ASSERT_TRUE(send_with_fds(ours.get(), bytes, fds));
  std::array<std::uint8_t, 10> into{};
  const ReceivedBytes received = receive_with_fds(theirs.get(), into).value();
  EXPECT_EQ(received.kind, ReceivedBytes::Kind::bytes);
  EXPECT_EQ(received.count, 3U);
  ASSERT_EQ(received.fds.size(), 2U);
  EXPECT_EQ(::fcntl(received.fds[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST(FdPassing, NothingToReadAndEndOfFileAreTold) {
  auto [ours, theirs] = socket_pair().value();
  std::array<std::uint8_t, 10> into{};
  EXPECT_EQ(receive_with_fds(theirs.get(), into).value().kind, ReceivedBytes::Kind::would_block);
  ours.reset();
  EXPECT_EQ(receive_with_fds(theirs.get(), into).value().kind, ReceivedBytes::Kind::end);
}

TEST(FdPassing, TooManyDescriptorsAreAnErrorAndNoneStaysOpen) {
  const auto [ours, theirs] = socket_pair().value();
  constexpr std::size_t kTooMany = kMaxPassedFds + 3;
  std::array<std::uint8_t, CMSG_SPACE(sizeof(int) * kTooMany)> control{};
  std::uint8_t byte = 1;
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int) * kTooMany);
  for (std::size_t i = 0; i < kTooMany; ++i) {
    const int fd = ours.get();
    std::memcpy(CMSG_DATA(part) + i * sizeof(int), &fd, sizeof(int));
  }
  ASSERT_EQ(::sendmsg(ours.get(), &message, 0), 1);
  const std::size_t before = open_descriptors();
  std::array<std::uint8_t, 10> into{};
  const auto received = receive_with_fds(theirs.get(), into);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().message, "cannot receive: more than 8 descriptors in one message");
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace pinhole::sys
