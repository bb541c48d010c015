// SPDX-License-Identifier: Apache-2.0
#include "vsock/byte_queue.h"

#include <gtest/gtest.h>

#include <string>

#include "vsock/window_pool.h"

namespace pinhole::vsock {
namespace {

void append(ByteQueue& queue, std::string text, std::size_t skip = 0) {
  const iovec part{text.data(), text.size()};
  queue.append({&part, 1}, skip);
}
std::string take(ByteQueue& queue, std::size_t count) {
  std::string text;
  for (const iovec& part : queue.front()) {
    text.append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
  text.resize(count);
  queue.consume(count);
  return text;
}

TEST(ByteQueue, GivesBytesBackInOrderAcrossItsEnd) {
  ByteQueue queue;
  std::string expected;
  std::string seen;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = std::to_string(i) + ",";
    append(queue, text);
    expected += text;
    if (queue.size() > 3000) seen += take(queue, 2999);
  }
  EXPECT_EQ(queue.capacity(), 4096U);
  seen += take(queue, queue.size());
  EXPECT_EQ(seen, expected);
}

TEST(ByteQueue, GrowsWithItsContentTurnedRound) {
  ByteQueue queue;
  append(queue, std::string(4000, 'a'));
  EXPECT_EQ(take(queue, 3000), std::string(3000, 'a'));
  append(queue, std::string(3000, 'b'));
  append(queue, std::string(3000, 'c'));
  EXPECT_EQ(take(queue, 7000),
            std::string(1000, 'a') + std::string(3000, 'b') + std::string(3000, 'c'));
}

TEST(ByteQueue, HoldsNoMemoryWhileEmpty) {
  ByteQueue queue;
  append(queue, "0123456789", 4);
  EXPECT_EQ(queue.size(), 6U);
  EXPECT_EQ(take(queue, 6), "456789");
  EXPECT_EQ(queue.capacity(), 0U);
  append(queue, "x", 1);
  EXPECT_TRUE(queue.empty());
}

TEST(WindowPool, PromisesNeverSumUpToMoreThanTheLimit) {
  WindowPool pool;
  std::vector<std::uint32_t> windows;
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kMaxConnections; ++i) {
    std::uint32_t window = pool.take();
    for (int k = 0; k < 4; ++k) window = pool.grow(window);
    windows.push_back(window);
    sum += window;
  }
  EXPECT_EQ(windows.front(), kLargestWindow);
  EXPECT_EQ(windows.back(), kSmallestWindow);
  EXPECT_LE(sum, kMaxBuffered);
  for (const std::uint32_t window : windows) pool.give_back(window);
  EXPECT_EQ(pool.take(), kFirstWindow);
}

}  // namespace
}  // namespace pinhole::vsock
