// SPDX-License-Identifier: Apache-2.0
#include "vhost/virtqueue.h"

#include <gtest/gtest.h>

#include <string>

#include "base/bytes.h"

namespace pinhole::vhost {
namespace {

constexpr std::uint64_t kGuest = 0x1000;
constexpr std::uint64_t kUser = 0x7000'0000;
constexpr std::uint64_t kSize = 0x10000;
constexpr std::uint16_t kRing = 8;
constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kWrite = 2;
constexpr std::uint16_t kIndirect = 4;
// Offsets in the memory.
constexpr std::uint64_t kDescriptors = 0;
constexpr std::uint64_t kAvailable = 0x1000;
constexpr std::uint64_t kUsed = 0x2000;
constexpr std::uint64_t kTable = 0x3000;
constexpr std::uint64_t kData = 0x4000;

/// A ring of eight in two adjacent regions of one memory file, and a driver's pen.
class VirtqueueTest : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = sys::make_memory_file("ring", kSize).value();
    map_ = sys::MemoryMap::map_shared(file_.get(), 0, kSize).value();
    ASSERT_TRUE(memory.add({kGuest, 0x8000, kUser, 0}, file_.get()));
    ASSERT_TRUE(memory.add({kGuest + 0x8000, 0x8000, kUser + 0x8000, 0x8000}, file_.get()));
    attach({.event_idx = true, .indirect = true});
  }
  void attach(RingFeatures features) { ASSERT_TRUE(queue.attach(memory, layout, features)); }
  void descriptor(std::uint64_t table, std::size_t index, std::uint64_t address, std::uint32_t size,
                  std::uint16_t flags, std::uint16_t next = 0) {
    const auto out = map_.bytes().subspan(table + index * 16, 16);
    store_le(out, 0, address);
    store_le(out, 8, size);
    store_le(out, 12, flags);
    store_le(out, 14, next);
  }
  void poke(std::uint64_t offset, std::uint16_t value) { store_le(map_.bytes(), offset, value); }
  [[nodiscard]] std::uint16_t peek(std::uint64_t offset) const {
    return load_le<std::uint16_t>(map_.bytes(), offset);
  }
  void offer(std::uint16_t head) {
    poke(kAvailable + 4 + (available_ % kRing) * 2U, head);
    poke(kAvailable + 2, ++available_);
  }
  static std::size_t total(const std::vector<iovec>& parts) {
    std::size_t sum = 0;
    for (const iovec& part : parts) sum += part.iov_len;
    return sum;
  }

  Fd file_;
  sys::MemoryMap map_;
  GuestMemory memory;
  const RingLayout layout{kRing, kUser + kDescriptors, kUser + kAvailable, kUser + kUsed};
  Virtqueue queue;
  Chain chain;
  std::uint16_t available_ = 0;
};

TEST_F(VirtqueueTest, GivesChainsInOrderAndReturnsThem) {
  descriptor(kDescriptors, 3, kGuest + kData, 44, kNext, 5);
  descriptor(kDescriptors, 5, kGuest + kData + 100, 1000, kWrite);
  offer(3);
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  EXPECT_EQ(chain.head, 3);
  ASSERT_EQ(chain.readable.size(), 1U);
  EXPECT_EQ(chain.readable[0].iov_len, 44U);
  EXPECT_EQ(total(chain.writable), 1000U);
  EXPECT_EQ(queue.pop(chain), Popped::empty);
  queue.push(3, 77);
  EXPECT_EQ(peek(kUsed + 2), 0);  // not shown yet
  queue.publish();
  EXPECT_EQ(peek(kUsed + 2), 1);
  EXPECT_EQ(load_le<std::uint32_t>(map_.bytes(), kUsed + 4), 3U);
  EXPECT_EQ(load_le<std::uint32_t>(map_.bytes(), kUsed + 8), 77U);
}

TEST_F(VirtqueueTest, BufferThatCrossesAdjacentRegionsComesInTwoParts) {
  descriptor(kDescriptors, 0, kGuest + 0x7ff0, 0x20, 0);
  offer(0);
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  EXPECT_EQ(chain.readable.size(), 2U);
  EXPECT_EQ(total(chain.readable), 0x20U);
}

TEST_F(VirtqueueTest, IndirectTableMayBeAsLongAsTheRing) {
  for (std::uint16_t i = 0; i < kRing; ++i) {
    descriptor(kTable, i, kGuest + kData, 10, i + 1 < kRing ? kNext : 0,
               static_cast<std::uint16_t>(i + 1));
  }
  descriptor(kDescriptors, 0, kGuest + kTable, kRing * 16, kIndirect);
  offer(0);
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  EXPECT_EQ(total(chain.readable), 80U);
}

TEST_F(VirtqueueTest, UnpoppedBuffersComeAgain) {
  descriptor(kDescriptors, 0, kGuest + kData, 44, 0);
  descriptor(kDescriptors, 1, kGuest + kData, 55, 0);
  offer(0);
  offer(1);
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  queue.unpop(1);
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  EXPECT_EQ(total(chain.readable), 55U);
}

TEST_F(VirtqueueTest, IndexesWrapAfter65536Buffers) {
  descriptor(kDescriptors, 0, kGuest + kData, 44, 0);
  for (int i = 0; i < 70'000; ++i) {
    offer(0);
    ASSERT_EQ(queue.pop(chain), Popped::chain) << i;
    queue.push(0, 0);
    queue.publish();
  }
  EXPECT_EQ(peek(kUsed + 2), 70'000 % 65'536);
}

TEST_F(VirtqueueTest, InterruptsAreRaisedWhenTheDriversEventIsPassed) {
  descriptor(kDescriptors, 0, kGuest + kData, 44, 0);
  const std::uint64_t used_event = kAvailable + 4 + kRing * 2;
  const auto use = [&](int count) {
    for (int i = 0; i < count; ++i) {
      offer(0);
      EXPECT_EQ(queue.pop(chain), Popped::chain);
      queue.push(0, 0);
    }
    return queue.publish();
  };
  poke(used_event, 2);
  EXPECT_FALSE(use(2));
  EXPECT_TRUE(use(1));
  EXPECT_FALSE(use(1));
  poke(used_event, 6);
  EXPECT_TRUE(use(4));
  EXPECT_FALSE(queue.publish());  // nothing new
}

TEST_F(VirtqueueTest, WithoutEventIndexTheFlagDecides) {
  attach({});
  descriptor(kDescriptors, 0, kGuest + kData, 44, 0);
  for (const bool wanted : {true, false, true}) {
    poke(kAvailable, wanted ? 0 : 1);
    offer(0);
    ASSERT_EQ(queue.pop(chain), Popped::chain);
    queue.push(0, 0);
    EXPECT_EQ(queue.publish(), wanted);
  }
  queue.spare_kicks();
  EXPECT_EQ(peek(kUsed), 1);
  EXPECT_FALSE(queue.ask_for_kick());
  EXPECT_EQ(peek(kUsed), 0);
}

TEST_F(VirtqueueTest, AskingForAKickTellsOfWhatCameMeanwhile) {
  descriptor(kDescriptors, 0, kGuest + kData, 44, 0);
  EXPECT_FALSE(queue.ask_for_kick());
  offer(0);
  EXPECT_TRUE(queue.ask_for_kick());
  ASSERT_EQ(queue.pop(chain), Popped::chain);
  EXPECT_FALSE(queue.ask_for_kick());
  EXPECT_EQ(peek(kUsed + 4 + kRing * 8), 1);
}

TEST_F(VirtqueueTest, BrokenRingStaysBrokenThroughANewMemoryTableAndIsMendedByANewStart) {
  offer(99);
  EXPECT_EQ(queue.pop(chain), Popped::broken);
  attach({});
  EXPECT_EQ(queue.pop(chain), Popped::broken);
  queue.set_position(0);
  descriptor(kDescriptors, 0, kGuest + kData, 44, 0);
  poke(kAvailable + 4, 0);
  EXPECT_EQ(queue.pop(chain), Popped::chain);
}

TEST_F(VirtqueueTest, RingsMustLieInMemoryAlignedAndBeAPowerOfTwo) {
  const auto error = [&](RingLayout wrong) {
    const auto attached = Virtqueue().attach(memory, wrong, {});
    return attached ? "" : attached.error().message;
  };
  EXPECT_EQ(error(layout), "");
  RingLayout wrong = layout;
  for (const std::uint16_t size : std::initializer_list<std::uint16_t>{0, 3, 2048}) {
    wrong.size = size;
    EXPECT_EQ(error(wrong),
              fmt::format("a ring of {} descriptors is not a power of two up to 1024", size));
  }
  wrong = layout;
  wrong.descriptors += 8;
  EXPECT_EQ(error(wrong), "a ring is not aligned");
  wrong = layout;
  wrong.used = kUser + kSize - 8;
  EXPECT_EQ(error(wrong), "a ring lies outside of guest memory");
  wrong.used = ~std::uint64_t{0} - 3;
  EXPECT_EQ(error(wrong), "a ring lies outside of guest memory");
}

/// What a hostile driver writes, and the reason that is logged.
class VirtqueueFault : public VirtqueueTest {
 protected:
  void expect(const std::string& reason) {
    EXPECT_EQ(queue.pop(chain), Popped::broken);
    EXPECT_EQ(queue.broken_reason(), reason);
    EXPECT_EQ(queue.pop(chain), Popped::broken);
    EXPECT_FALSE(queue.ask_for_kick());
  }
};

TEST_F(VirtqueueFault, HeadOutOfRange) {
  offer(kRing);
  expect("descriptor 8 does not exist");
}
TEST_F(VirtqueueFault, NextOutOfRange) {
  descriptor(kDescriptors, 0, kGuest + kData, 8, kNext, 0xffff);
  offer(0);
  expect("descriptor 65535 does not exist");
}
TEST_F(VirtqueueFault, Loop) {
  descriptor(kDescriptors, 0, kGuest + kData, 8, kNext, 1);
  descriptor(kDescriptors, 1, kGuest + kData, 8, kNext, 0);
  offer(0);
  expect("a chain is longer than its ring of 8");
}
TEST_F(VirtqueueFault, LoopOfEmptyDescriptors) {
  descriptor(kDescriptors, 0, 0, 0, kNext, 0);
  offer(0);
  expect("a chain is longer than its ring of 8");
}
TEST_F(VirtqueueFault, AddressOutside) {
  descriptor(kDescriptors, 0, kGuest + kSize, 1, 0);
  offer(0);
  expect("1 bytes at 0x11000 are outside of guest memory");
}
TEST_F(VirtqueueFault, HugeLength) {
  descriptor(kDescriptors, 0, kGuest + kData, 0xffff'ffff, kWrite);
  offer(0);
  expect("4294967295 bytes at 0x5000 are outside of guest memory");
}
TEST_F(VirtqueueFault, AddressThatWraps) {
  descriptor(kDescriptors, 0, 0xffff'ffff'ffff'fff0, 0x20, 0);
  offer(0);
  expect("32 bytes at 0xfffffffffffffff0 are outside of guest memory");
}
TEST_F(VirtqueueFault, ReadableAfterWritable) {
  descriptor(kDescriptors, 0, kGuest + kData, 8, kNext | kWrite, 1);
  descriptor(kDescriptors, 1, kGuest + kData, 8, 0);
  offer(0);
  expect("a readable descriptor after a writable one");
}
TEST_F(VirtqueueFault, IndirectInsideIndirect) {
  descriptor(kTable, 0, kGuest + kTable, 16, kIndirect);
  descriptor(kDescriptors, 0, kGuest + kTable, 16, kIndirect);
  offer(0);
  expect("an indirect descriptor where none may be");
}
TEST_F(VirtqueueFault, IndirectThatWasNotAgreedOn) {
  attach({.event_idx = true, .indirect = false});
  descriptor(kDescriptors, 0, kGuest + kTable, 16, kIndirect);
  offer(0);
  expect("an indirect descriptor where none may be");
}
TEST_F(VirtqueueFault, IndirectTableOfOddLength) {
  descriptor(kDescriptors, 0, kGuest + kTable, 17, kIndirect);
  offer(0);
  expect("an indirect table of 17 bytes");
}
TEST_F(VirtqueueFault, IndirectTableThatIsTooLong) {
  descriptor(kDescriptors, 0, kGuest + kTable, (kRing + 1) * 16, kIndirect);
  offer(0);
  expect("an indirect table of 144 bytes");
}
TEST_F(VirtqueueFault, IndirectTableOutside) {
  descriptor(kDescriptors, 0, kGuest + kSize - 16, 32, kIndirect);
  offer(0);
  expect("an indirect table outside of guest memory");
}
TEST_F(VirtqueueFault, AvailableIndexJumps) {
  poke(kAvailable + 2, kRing + 1);
  expect("the available index is 9 ahead in a ring of 8");
}

// ---------------------------------------------------------------- memory

TEST_F(VirtqueueTest, MemoryRegionsMustBeRealAndApart) {
  const auto error = [&](MemoryRegion region, int fd) {
    const auto added = memory.add(region, fd);
    return added ? "" : added.error().message;
  };
  EXPECT_EQ(error({kGuest + 0x4000, 16, 0x1000, 0}, file_.get()),
            "memory region at guest address 0x5000 overlaps another");
  EXPECT_EQ(error({0x90'0000, 16, kUser, 0}, file_.get()),
            "memory region at guest address 0x900000 overlaps another");
  EXPECT_EQ(error({0x90'0000, 0, 0x1000, 0}, file_.get()),
            "memory region of 0 bytes at guest address 0x900000 is not a range");
  EXPECT_EQ(error({~std::uint64_t{0} - 1, 16, 0x1000, 0}, file_.get()),
            "memory region of 16 bytes at guest address 0xfffffffffffffffe is not a range");
  EXPECT_EQ(error({0x90'0000, kSize, 0x1000, 1}, file_.get()),
            "cannot map shared memory: 65536 bytes at 1 of a file of 65536");
  EXPECT_EQ(error({0x90'0000, 16, 0x1000, ~std::uint64_t{0}}, file_.get()),
            "cannot map shared memory: 16 bytes at 18446744073709551615 of a file of 65536");
  EXPECT_EQ(error({0x90'0000, 16, 0x1000, 8}, file_.get()), "");
}

}  // namespace
}  // namespace pinhole::vhost
