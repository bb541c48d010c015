// SPDX-License-Identifier: Apache-2.0
#include "sys/readable.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

using asio::posix::stream_descriptor;

asio::awaitable<void> tell(Fd fd, std::optional<bool>& told) {
  told = co_await until_readable(std::move(fd));
}

TEST(UntilReadable, BytesAndAnEndAreTold) {
  for (const bool bytes : {true, false}) {
    asio::io_context io;
    auto [read_end, write_end] = make_pipe().value();
    std::optional<bool> told;
    asio::co_spawn(io, tell(std::move(read_end), told), asio::detached);
    io.poll();
    EXPECT_EQ(told, std::nullopt);
    if (bytes) {
      ASSERT_EQ(::write(write_end.get(), "x", 1), 1);
    } else {
      write_end.reset();
    }
    io.poll();
    EXPECT_EQ(told, true);
  }
}

TEST(UntilReadable, WhatIsNoDescriptorIsNotWaitedFor) {
  asio::io_context io;
  std::optional<bool> told;
  asio::co_spawn(io, tell(Fd(), told), asio::detached);
  io.poll();
  EXPECT_EQ(told, false);
}

/// What happened to a descriptor that was closed meanwhile is not taken for the new one's.
TEST(UntilReadable, AnEventOfAClosedDescriptorIsNotTheNewOnes) {
  asio::io_context io;
  auto [first, to_first] = make_pipe().value();
  auto [second, to_second] = make_pipe().value();
  auto [quiet, to_quiet] = make_pipe().value();
  std::optional<stream_descriptor> one(std::in_place, io, first.release());
  std::optional<stream_descriptor> other(std::in_place, io, second.release());
  std::optional<bool> told;
  // Both events come in one batch; whichever is looked at first closes the other's descriptor.
  const auto replace = [&](std::optional<stream_descriptor>& ready) {
    if (!one || !other) return;
    (&ready == &one ? other : one).reset();
    asio::co_spawn(io, tell(std::move(quiet), told), asio::detached);
  };
  one->async_wait(stream_descriptor::wait_read, [&](error_code error) {
    if (!error) replace(one);
  });
  other->async_wait(stream_descriptor::wait_read, [&](error_code error) {
    if (!error) replace(other);
  });
  io.poll();
  ASSERT_EQ(::write(to_first.get(), "x", 1), 1);
  ASSERT_EQ(::write(to_second.get(), "x", 1), 1);
  io.poll();
  EXPECT_EQ(told, std::nullopt);
  to_quiet.reset();
  io.poll();
  EXPECT_EQ(told, true);
}

}  // namespace
}  // namespace pinhole::sys
