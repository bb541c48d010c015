// SPDX-License-Identifier: Apache-2.0
// What one turn of the device takes from a guest that has more, before other events have theirs.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.h"
#include "vhost/device.h"
#include "vsock/testing/fake_ends.h"

namespace pinhole::vhost::testing {
namespace {

constexpr std::uint16_t kRingSize = kMaxRingSize;
constexpr std::uint64_t kUser = 0x7f00'0000'0000;
constexpr std::uint64_t kSize = std::uint64_t{8} << 20;
// Of ring i at i * kStride; tables, headers and payload above.
constexpr std::uint64_t kStride = 0x10000;
constexpr std::uint64_t kAvailable = 0x8000;
constexpr std::uint64_t kUsed = 0xa000;
constexpr std::uint64_t kTable = 0x20000;
constexpr std::uint64_t kPacket = 0x40000;
constexpr std::uint64_t kBuffers = 0x100000;
constexpr std::uint16_t kWrite = 2;
constexpr std::uint16_t kIndirect = 4;
constexpr std::uint16_t kNext = 1;

class DeviceBudget : public ::testing::Test {
 protected:
  void SetUp() override {
    loop = sys::EventLoop::make().value();
    file = sys::make_memory_file("budget", kSize).value();
    map = sys::MemoryMap::map_shared(file.get(), 0, kSize).value();
    memory = map.bytes();
    connector.outcomes = {{440, vsock::ConnectAttempt::Outcome::connected}};
    device.emplace(*loop, muxer);
    device->set_features(kFeatureVersion1 | kFeatureIndirect);
    GuestMemory table;
    ASSERT_TRUE(table.add({0, kSize, kUser, 0}, file.get()));
    device->set_memory(std::move(table));
    for (std::uint32_t i = 0; i < kRings; ++i) {
      device->set_size(i, kRingSize);
      const std::uint64_t at = kUser + i * kStride;
      device->set_addresses(i, at, at + kAvailable, at + kUsed);
      ASSERT_TRUE(device->set_kick(i, {}));
    }
    ASSERT_TRUE(device->running());
  }

  void descriptor(std::uint64_t at, std::uint64_t address, std::uint64_t size, std::uint16_t flags,
                  std::uint16_t next = 0) {
    const auto out = memory.subspan(at, 16);
    store_le<std::uint64_t>(out, 0, address);
    store_le(out, 8, static_cast<std::uint32_t>(size));
    store_le(out, 12, flags);
    store_le(out, 14, next);
  }
  /// Makes descriptor 0 of `ring` available `count` times more.
  void offer(std::uint32_t ring, std::uint16_t count, bool each_its_own = false) {
    const std::uint64_t at = ring * kStride + kAvailable;
    auto index = load_le<std::uint16_t>(memory, at + 2);
    for (std::uint16_t i = 0; i < count; ++i, ++index) {
      const auto slot = static_cast<std::uint16_t>(index % kRingSize);
      store_le(memory, at + 4 + slot * 2U, each_its_own ? slot : std::uint16_t{0});
    }
    store_le(memory, at + 2, index);
  }
  std::uint16_t used(std::uint32_t ring) {
    return load_le<std::uint16_t>(memory, ring * kStride + kUsed + 2);
  }
  /// A packet of the guest in transmit descriptor 0.
  void packet(vsock::Op op, std::uint32_t len = 0) {
    const vsock::PacketHeader header{.src_cid = 3,
                                     .dst_cid = 2,
                                     .src_port = 1,
                                     .dst_port = 440,
                                     .len = len,
                                     .op = static_cast<std::uint16_t>(op),
                                     .buf_alloc = 16U << 20};
    std::ranges::copy(vsock::encode_header(header), memory.begin() + kPacket);
    descriptor(kStride, kPacket, vsock::kHeaderSize + len, 0);
  }
  /// As many receive buffers as the ring has room for.
  void give_buffers(std::uint32_t size) {
    for (std::uint64_t i = 0; i < kRingSize; ++i) {
      descriptor(i * 16, kBuffers + i * size, size, kWrite);
    }
    offer(kRxRing, kRingSize, true);
  }
  /// A stream whose host program has gone silent or sends without end.
  vsock::testing::HostEnd& connect() {
    packet(vsock::Op::request);
    offer(kTxRing, 1);
    EXPECT_FALSE(device->process(now));
    return *connector.ends.at(0);
  }

  vsock::TimePoint now{std::chrono::seconds(1)};
  std::unique_ptr<sys::EventLoop> loop;
  Fd file;
  sys::MemoryMap map;
  std::span<std::uint8_t> memory;
  vsock::testing::FakeConnector connector;
  vsock::Muxer muxer{3, connector};
  std::optional<Device> device;
};

TEST_F(DeviceBudget, PacketsOfOneTurn) {
  packet(vsock::Op::rst);
  offer(kTxRing, kTxPacketsPerTurn + 1);
  EXPECT_TRUE(device->process(now));
  EXPECT_EQ(used(kTxRing), kTxPacketsPerTurn);
  EXPECT_FALSE(device->process(now));
  EXPECT_EQ(used(kTxRing), kTxPacketsPerTurn + 1);
}

TEST_F(DeviceBudget, FewerPacketsAreOneTurn) {
  packet(vsock::Op::rst);
  offer(kTxRing, kTxPacketsPerTurn - 1);
  EXPECT_FALSE(device->process(now));
  EXPECT_EQ(used(kTxRing), kTxPacketsPerTurn - 1);
}

TEST_F(DeviceBudget, BytesOfOneTurnFromTheGuest) {
  give_buffers(4096);
  connect().keep_received = false;
  constexpr std::uint32_t kLen = vsock::kMaxPayload;
  packet(vsock::Op::rw, kLen);
  const std::uint16_t before = used(kTxRing);
  // Past its credit on the way, which changes nothing here.
  offer(kTxRing, 2 * kTxBytesPerTurn / kLen - 1);
  EXPECT_TRUE(device->process(now));
  EXPECT_EQ(used(kTxRing) - before, kTxBytesPerTurn / kLen);
  EXPECT_FALSE(device->process(now));
  EXPECT_EQ(used(kTxRing) - before, 2 * kTxBytesPerTurn / kLen - 1);
}

TEST_F(DeviceBudget, BytesOfOneTurnToTheGuest) {
  give_buffers(4096);
  connect().endless = std::uint64_t{1} << 40;
  muxer.on_host_ready(connector.connected[0], {.readable = true}, now);
  EXPECT_TRUE(device->process(now));
  const std::size_t packets = used(kRxRing);
  EXPECT_LE(packets, (kRxBytesPerTurn + vsock::kQuantum) / (4096 - vsock::kHeaderSize));
  EXPECT_TRUE(device->process(now));
  EXPECT_GT(used(kRxRing), packets);
}

TEST_F(DeviceBudget, DescriptorsOfOneTurnFromTheGuest) {
  // A table as long as may be, for a packet of no bytes.
  for (std::uint16_t i = 0; i < kRingSize; ++i) {
    const auto next = static_cast<std::uint16_t>(i + 1);
    descriptor(kTable + i * 16ULL, kPacket, 0, next < kRingSize ? kNext : 0, next);
  }
  descriptor(kStride, kTable, kRingSize * 16ULL, kIndirect);
  constexpr std::uint16_t kChains = kDescriptorsPerTurn / kRingSize;
  offer(kTxRing, kChains - 1);
  EXPECT_FALSE(device->process(now));
  EXPECT_EQ(used(kTxRing), kChains - 1);
  offer(kTxRing, 2 * kChains);
  EXPECT_TRUE(device->process(now));
  EXPECT_EQ(used(kTxRing), 2 * kChains - 1);
}

TEST_F(DeviceBudget, DescriptorsOfOneTurnToTheGuest) {
  // Receive buffers in a thousand parts each, all but the last empty.
  for (std::uint16_t i = 0; i < kRingSize; ++i) {
    const auto next = static_cast<std::uint16_t>(i + 1);
    const bool last = next == kRingSize;
    descriptor(kTable + i * 16ULL, kBuffers, last ? vsock::kHeaderSize + 1 : 0,
               last ? kWrite : kWrite | kNext, next);
  }
  descriptor(0, kTable, kRingSize * 16ULL, kIndirect);
  offer(kRxRing, kRingSize);
  connect().endless = std::uint64_t{1} << 40;
  const std::uint16_t before = used(kRxRing);
  muxer.on_host_ready(connector.connected[0], {.readable = true}, now);
  EXPECT_TRUE(device->process(now));
  constexpr std::uint16_t kChains = kDescriptorsPerTurn / kRingSize;
  EXPECT_GT(used(kRxRing), before);
  EXPECT_LE(used(kRxRing) - before, kChains + 1);
}

TEST_F(DeviceBudget, ConnectionsThatComeTooQuicklyWaitInTheRing) {
  give_buffers(4096);
  const auto turns = [&] {
    for (int i = 0; i < 16 && device->process(now); ++i) {
    }
  };
  // Refused ones count too: the port is not listed.
  packet(vsock::Op::request);
  store_le<std::uint32_t>(memory.subspan(kPacket), 20, 9);
  offer(kTxRing, kRingSize);
  turns();
  EXPECT_EQ(used(kTxRing), vsock::kRequestBurst);
  give_buffers(4096);
  offer(kTxRing, 10);
  turns();
  EXPECT_EQ(used(kTxRing), vsock::kRequestBurst);
  const auto deadline = device->next_deadline();
  ASSERT_TRUE(deadline);
  now = *deadline;
  turns();
  EXPECT_EQ(used(kTxRing), vsock::kRequestBurst + 1);
  now += std::chrono::seconds(1);
  turns();
  EXPECT_EQ(used(kTxRing), vsock::kRequestBurst + 10);
  EXPECT_EQ(device->next_deadline(), std::nullopt);
}

}  // namespace
}  // namespace pinhole::vhost::testing
