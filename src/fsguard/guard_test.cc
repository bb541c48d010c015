// SPDX-License-Identifier: Apache-2.0
#include "fsguard/guard.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "sys/fd_passing.h"
#include "sys/unix_socket.h"

namespace pinhole::fsguard {
namespace {

using testing::ElementsAre;
using vhost::Request;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMemory = 1 << 16;
constexpr std::uint64_t kUserBase = 0x7000'0000;
constexpr std::uint16_t kSize = 8;
// Where the ring's parts and the buffers lie in the guest's memory.
constexpr std::uint64_t kDescriptors = 0x1000, kAvailable = 0x2000, kUsed = 0x3000,
                        kBuffers = 0x4000;

Bytes u64(std::uint64_t value) {
  Bytes out(8);
  store_le(std::span(out), 0, value);
  return out;
}
Bytes two(std::uint32_t first, std::uint32_t second) {
  return u64(first | std::uint64_t{second} << 32);
}
Bytes message(Request request, const Bytes& payload, std::uint32_t flags = 1) {
  Bytes out(12);
  store_le(std::span(out), 0, static_cast<std::uint32_t>(request));
  store_le(std::span(out), 4, flags);
  store_le(std::span(out), 8, static_cast<std::uint32_t>(payload.size()));
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

class GuardTest : public testing::Test {
 protected:
  void SetUp() override {
    auto qemu = sys::socket_pair().value();
    auto server = sys::socket_pair().value();
    for (const Fd* fd : {&qemu.first, &qemu.second, &server.first, &server.second})
      sys::set_nonblocking(fd->get());
    qemu_ = std::move(qemu.first);
    server_ = std::move(server.first);
    guard_ = Guard::start(*loop_, std::move(qemu.second), std::move(server.second), [this] {
               ended_ = true;
             }).value();
    ASSERT_EQ(::ftruncate(memory_.get(), kMemory), 0);
    void* map = ::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    bytes_ = {static_cast<std::uint8_t*>(map), kMemory};
  }
  void TearDown() override { ::munmap(bytes_.data(), bytes_.size()); }

  void turn() {
    for (int i = 0; i < 5; ++i) loop_->run_once(std::chrono::milliseconds(0));
  }
  void say(const Fd& socket, const Bytes& bytes, std::vector<int> fds = {}) {
    ASSERT_TRUE(sys::send_with_fds(socket.get(), bytes, fds));
    turn();
  }
  static Bytes heard(const Fd& socket, std::size_t* fds = nullptr) {
    Bytes room(1024);
    auto got = sys::receive_with_fds(socket.get(), room).value();
    room.resize(got.count);
    if (fds != nullptr) *fds = got.fds.size();
    return room;
  }
  /// A whole start of one ring, as QEMU does it.
  void set_up_ring() {
    say(qemu_, message(Request::set_features, u64(vhost::kFeatureVersion1)));
    Bytes table = two(1, 0);
    for (const std::uint64_t part :
         {std::uint64_t{0}, std::uint64_t{kMemory}, kUserBase, std::uint64_t{0}}) {
      const Bytes bytes = u64(part);
      table.insert(table.end(), bytes.begin(), bytes.end());
    }
    say(qemu_, message(Request::set_mem_table, table), {memory_.get()});
    say(qemu_, message(Request::set_vring_num, two(0, kSize)));
    Bytes address = two(0, 0);
    for (const std::uint64_t part :
         {kUserBase + kDescriptors, kUserBase + kUsed, kUserBase + kAvailable, std::uint64_t{0}}) {
      const Bytes bytes = u64(part);
      address.insert(address.end(), bytes.begin(), bytes.end());
    }
    say(qemu_, message(Request::set_vring_addr, address));
    say(qemu_, message(Request::set_vring_base, two(0, 0)));
    say(qemu_, message(Request::set_vring_call, u64(0)), {call_.get()});
    say(qemu_, message(Request::set_vring_kick, u64(0)), {kick_.get()});
  }
  template <typename T>
  T load(std::uint64_t at) {
    return load_le<T>(std::span<const std::uint8_t>(bytes_), at);
  }
  template <typename T>
  void store(std::uint64_t at, T value) {
    store_le(bytes_, at, value);
  }
  /// A FUSE request of the guest in descriptors 2n and 2n+1: 40 bytes to read, `room` to write.
  void request(std::uint16_t number, std::uint32_t room) {
    const std::uint64_t buffer = kBuffers + number * 0x200;
    store(buffer, std::uint32_t{40});
    store(buffer + 8, std::uint64_t{0xabc0} + number);
    descriptor(number * 2, buffer, 40, room > 0 ? 1 : 0, number * 2 + 1);
    if (room > 0) descriptor(number * 2 + 1, buffer + 0x100, room, 2, 0);
    const auto index = load<std::uint16_t>(kAvailable + 2);
    store(kAvailable + 4 + (index % kSize) * 2, static_cast<std::uint16_t>(number * 2));
    store(kAvailable + 2, static_cast<std::uint16_t>(index + 1));
  }
  void descriptor(int at, std::uint64_t address, std::uint32_t size, int flags, int next) {
    const std::uint64_t where = kDescriptors + static_cast<std::uint64_t>(at) * 16;
    store(where, address);
    store(where + 8, size);
    store(where + 12, static_cast<std::uint16_t>(flags));
    store(where + 14, static_cast<std::uint16_t>(next));
  }
  /// (length, error, unique) of what a request got.
  std::vector<std::uint64_t> reply(std::uint16_t number) {
    const std::uint64_t at = kBuffers + number * 0x200 + 0x100;
    return {load<std::uint32_t>(at), load<std::uint32_t>(at + 4), load<std::uint64_t>(at + 8)};
  }

  std::unique_ptr<sys::EventLoop> loop_ = sys::EventLoop::make().value();
  Fd qemu_, server_;
  Fd memory_{::memfd_create("guest", MFD_CLOEXEC)};
  Fd kick_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Fd call_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::span<std::uint8_t> bytes_;
  std::unique_ptr<Guard> guard_;
  bool ended_ = false;
};

constexpr auto kNotConnected = static_cast<std::uint32_t>(-ENOTCONN);

TEST_F(GuardTest, PassesMessagesOnAndOffersNoMoreThanItKnows) {
  say(qemu_, message(Request::get_features, {}));
  EXPECT_EQ(heard(server_), message(Request::get_features, {}));
  say(server_, message(Request::get_features, u64(~std::uint64_t{0}), 5));
  EXPECT_EQ(heard(qemu_), message(Request::get_features, u64(kPassedFeatures), 5));
  say(qemu_, message(Request::get_protocol_features, {}));
  heard(server_);
  say(server_, message(Request::get_protocol_features, u64(0xffff), 5));
  EXPECT_EQ(heard(qemu_), message(Request::get_protocol_features, u64(0), 5));
  std::size_t fds = 0;
  say(qemu_, message(Request::set_vring_call, u64(0)), {call_.get()});
  EXPECT_EQ(heard(server_, &fds), message(Request::set_vring_call, u64(0)));
  EXPECT_EQ(fds, 1U);
}

TEST_F(GuardTest, WhatWasUnderWayWhenTheServerDiedGetsAnError) {
  set_up_ring();
  request(0, 64);
  store(kUsed + 2, std::uint16_t{1});  // the server has answered that one
  request(1, 64);
  request(2, 0);  // a FORGET, without a reply
  server_.reset();
  turn();
  EXPECT_EQ(guard_->refused(), 2U);
  EXPECT_EQ(load<std::uint16_t>(kUsed + 2), 3);
  EXPECT_THAT(reply(1), ElementsAre(16, kNotConnected, 0xabc1));
  EXPECT_EQ(reply(0)[0], 0U);                              // untouched
  EXPECT_EQ(load<std::uint32_t>(kUsed + 4 + 8), 2U);       // its head,
  EXPECT_EQ(load<std::uint32_t>(kUsed + 4 + 8 + 4), 16U);  // and what was written
  std::uint64_t calls = 0;
  EXPECT_EQ(::read(call_.get(), &calls, sizeof(calls)), 8);
  // What the guest asks afterwards, too.
  request(3, 64);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(kick_.get(), &one, sizeof(one)), 8);
  turn();
  EXPECT_THAT(reply(3), ElementsAre(16, kNotConnected, 0xabc3));
  // QEMU gives the device up.
  say(qemu_, message(Request::get_vring_base, two(0, 0)));
  EXPECT_EQ(heard(qemu_), message(Request::get_vring_base, two(0, 4), 5));
  EXPECT_FALSE(ended_);
  qemu_.reset();
  turn();
  EXPECT_TRUE(ended_);
}

TEST_F(GuardTest, MoreThanATurnsRequestsAreRefusedInTurnsAndNoneIsForgotten) {
  set_up_ring();
  for (const int number : {0, 1, 2, 3, 0, 1}) request(static_cast<std::uint16_t>(number), 64);
  server_.reset();
  loop_->run_once(std::chrono::milliseconds(0));
  EXPECT_EQ(guard_->refused(), kRefusedPerTurn);
  turn();
  EXPECT_EQ(guard_->refused(), 6U);
  EXPECT_EQ(load<std::uint16_t>(kUsed + 2), 6);
}

TEST_F(GuardTest, AServerThatDiesWithAQuestionOpenLeavesQemuNoneTheWaiting) {
  say(qemu_, message(Request::get_vring_base, two(1, 0)));
  server_.reset();
  turn();
  EXPECT_EQ(heard(qemu_), message(Request::get_vring_base, two(1, 0), 5));
}

TEST_F(GuardTest, ServerThatSpeaksUnaskedIsAsGoodAsDead) {
  say(server_, message(Request::get_features, u64(0), 5));
  EXPECT_TRUE(heard(qemu_).empty());
  say(qemu_, message(Request::get_features, {}));
  EXPECT_EQ(heard(qemu_), message(Request::get_features, u64(kPassedFeatures), 5));
}

TEST_F(GuardTest, QemuThatBreaksTheProtocolEndsIt) {
  say(qemu_, message(static_cast<Request>(99), {}));
  EXPECT_TRUE(ended_);
}

TEST(Refusal, NeedsTheWholeHeaderAndRoomForTheAnswer) {
  std::array<std::uint8_t, 40> in{};
  std::array<std::uint8_t, 16> out{};
  const auto refused = [&](std::size_t given, std::size_t room) {
    vhost::Chain chain;
    chain.readable = {{.iov_base = in.data(), .iov_len = given}};
    chain.writable = {{.iov_base = out.data(), .iov_len = room}};
    return write_refusal(chain);
  };
  EXPECT_EQ(refused(40, 16), 16U);
  EXPECT_EQ(refused(39, 16), 0U);
  EXPECT_EQ(refused(40, 15), 0U);
}

}  // namespace
}  // namespace pinhole::fsguard
