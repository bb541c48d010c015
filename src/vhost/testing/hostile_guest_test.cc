// SPDX-License-Identifier: Apache-2.0
// Guests that write whatever they like into their rings, and front-ends that send whatever they
// like. Whatever happens to them, the program goes on and the next driver finds a working device.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "sys/unix_socket.h"
#include "vhost/testing/fake_guest.h"
#include "vhost/testing/host_programs.h"

namespace pinhole::vhost::testing {
namespace {

constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kWrite = 2;
constexpr std::uint16_t kIndirect = 4;
constexpr std::uint64_t kBase = FakeGuest::kGuestBase;

/// One thing a hostile driver does to its transmit ring.
struct Attack {
  std::string name;
  std::function<void(FakeGuest&, DriverRing&)> act;
};

void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

std::uint64_t scratch(FakeGuest& guest) { return kBase + guest.scratch(); }

std::vector<Attack> plain_attacks() {
  return {
      {"DescriptorLoop",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 8, kNext, 1);
         guest.write_descriptor(ring.descriptors, 1, scratch(guest), 8, kNext, 0);
         guest.offer(ring, 0);
       }},
      {"HeadOutOfRange", [](FakeGuest& guest, DriverRing& ring) { guest.offer(ring, 0xffff); }},
      {"NextOutOfRange",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 8, kNext, ring.size);
         guest.offer(ring, 0);
       }},
      {"AddressOutside",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, 0xffff'ffff'0000, 44, 0, 0);
         guest.offer(ring, 0);
       }},
      {"AddressBelow",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, kBase - 1, 44, 0, 0);
         guest.offer(ring, 0);
       }},
      {"LengthPastTheEnd",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 0xffff'ffff, 0, 0);
         guest.offer(ring, 0);
       }},
      {"AddressWraps",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, 0xffff'ffff'ffff'ffe0, 0x40, 0, 0);
         guest.offer(ring, 0);
       }},
      {"WritableInTransmit",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 44, kNext, 1);
         guest.write_descriptor(ring.descriptors, 1, scratch(guest), 44, kWrite, 0);
         guest.offer(ring, 0);
       }},
      {"ReadableAfterWritable",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 44, kNext | kWrite, 1);
         guest.write_descriptor(ring.descriptors, 1, scratch(guest), 44, 0, 0);
         guest.offer(ring, 0);
       }},
      {"AvailableIndexJumps",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.set_available_index(
             ring, static_cast<std::uint16_t>(ring.available_index + ring.size + 1));
       }},
      {"AvailableIndexGoesBack",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.set_available_index(ring, static_cast<std::uint16_t>(ring.available_index - 1));
       }},
  };
}

std::vector<Attack> indirect_attacks() {
  return {
      {"IndirectInIndirect",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(guest.scratch(), 0, scratch(guest), 16, kIndirect, 0);
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 16, kIndirect, 0);
         guest.offer(ring, 0);
       }},
      {"IndirectWithNext",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 16, kIndirect | kNext, 1);
         guest.offer(ring, 0);
       }},
      {"IndirectLengthNotWhole",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 24, kIndirect, 0);
         guest.offer(ring, 0);
       }},
      {"IndirectEmpty",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 0, kIndirect, 0);
         guest.offer(ring, 0);
       }},
      {"IndirectLongerThanTheRing",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 16U * (ring.size + 1U),
                                kIndirect, 0);
         guest.offer(ring, 0);
       }},
      {"IndirectOutside",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(ring.descriptors, 0, kBase - 16, 32, kIndirect, 0);
         guest.offer(ring, 0);
       }},
      {"IndirectNextOutOfItsTable",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(guest.scratch(), 0, scratch(guest), 8, kNext, 2);
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 32, kIndirect, 0);
         guest.offer(ring, 0);
       }},
      {"IndirectLoop",
       [](FakeGuest& guest, DriverRing& ring) {
         guest.write_descriptor(guest.scratch(), 0, scratch(guest), 8, kNext, 0);
         guest.write_descriptor(ring.descriptors, 0, scratch(guest), 16, kIndirect, 0);
         guest.offer(ring, 0);
       }},
  };
}

class HostileGuest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = sys::TempDir::make().value();
    program_ = start_program(folder_->path(), "440").value();
    listener = listen_port(folder_->path(), 440).value();
    guest = connect_guest(folder_->path()).value();
    ASSERT_TRUE(guest->start_driver());
  }
  /// The program lives, and a new driver's stream works.
  void expect_recovery() {
    ASSERT_TRUE(guest->stop_driver());
    ASSERT_TRUE(guest->start_driver());
    expect_stream_works();
  }
  void expect_stream_works() {
    const auto stream = guest->connect_stream(440);
    ASSERT_TRUE(stream) << stream.error().message;
    const Fd host = accept_one(listener.get());
    const std::uint8_t byte = 'x';
    ASSERT_EQ(guest->send_some(**stream, {&byte, 1}), 1U);
    char c = 0;
    EXPECT_EQ(::recv(host.get(), &c, 1, 0), 1);
  }
  /// The device has seen every event up to here: it answers a message.
  void settle() { ASSERT_TRUE(guest->send_memory()); }

  std::optional<sys::TempDir> folder_;
  std::optional<sys::Process> program_;
  Fd listener;
  std::unique_ptr<FakeGuest> guest;
};

class HostileTransmitRing : public HostileGuest, public ::testing::WithParamInterface<Attack> {};

TEST_P(HostileTransmitRing, IsLeftAloneWhileTheReceiveRingGoesOn) {
  GuestStream* stream = guest->connect_stream(440).value();
  const Fd host = accept_one(listener.get());
  ASSERT_TRUE(guest->run_until(
      [&] { return guest->used_index(guest->tx()) == guest->tx().available_index; }));
  GetParam().act(*guest, guest->tx());
  guest->kick_always(guest->tx());
  const std::uint16_t used = guest->used_index(guest->tx());
  // What the host has to say still arrives, and nothing more is taken from the broken ring.
  ASSERT_EQ(::send(host.get(), "heard", 5, MSG_NOSIGNAL), 5);
  EXPECT_TRUE(guest->run_until([&] { return stream->received == 5; }));
  guest->try_send(guest->header_of(*stream, vsock::Op::credit_request));
  guest->kick_always(guest->tx());
  settle();
  EXPECT_EQ(guest->used_index(guest->tx()), used);
  expect_recovery();
}

constexpr auto kByName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Plain, HostileTransmitRing, ::testing::ValuesIn(plain_attacks()), kByName);
INSTANTIATE_TEST_SUITE_P(Indirect, HostileTransmitRing, ::testing::ValuesIn(indirect_attacks()),
                         kByName);

TEST_F(HostileGuest, ReceiveBuffersThatCannotHoldAPacketBreakOnlyThatRing) {
  struct Buffer {
    std::uint32_t size;
    std::uint16_t flags;
  };
  for (const Buffer buffer : {Buffer{44, kWrite}, Buffer{43, kWrite}, Buffer{4096, 0}}) {
    ASSERT_TRUE(guest->stop_driver());
    ASSERT_TRUE(guest->start_driver());
    DriverRing& ring = guest->rx();
    for (std::uint16_t i = 0; i < ring.size; ++i) {
      guest->write_descriptor(ring.descriptors, i, kBase + guest->scratch(), buffer.size,
                              buffer.flags, 0);
    }
    GuestStream& stream = guest->open(440);
    const Fd host = accept_one(listener.get());  // the transmit ring was read
    settle();
    guest->receive();
    EXPECT_FALSE(stream.established);
    expect_recovery();
  }
}

TEST_F(HostileGuest, ShortAndStrangePacketsAreNotAnswered) {
  DriverRing& ring = guest->tx();
  for (const std::uint32_t size : {0U, 1U, 43U, 44U}) {
    guest->write_descriptor(ring.descriptors, 0, kBase + guest->scratch(), size, 0, 0);
    guest->offer(ring, 0);
    guest->kick_always(ring);
    ASSERT_TRUE(guest->run_until([&] { return guest->used_index(ring) == ring.available_index; }));
  }
  ASSERT_TRUE(guest->stop_driver());
  ASSERT_TRUE(guest->start_driver());
  expect_stream_works();
}

TEST_F(HostileGuest, DataPastItsCreditEndsThatStreamOnly) {
  GuestStream* good = guest->connect_stream(440).value();
  const Fd good_host = accept_one(listener.get());
  GuestStream* bad = guest->connect_stream(440).value();
  const Fd bad_host = accept_one(listener.get());
  const std::vector<std::uint8_t> chunk(64 * 1024, 'x');
  bad->peer_alloc = 0xffff'ffff;
  ASSERT_TRUE(guest->run_until([&] {
    vsock::PacketHeader header = guest->header_of(*bad, vsock::Op::rw);
    header.len = static_cast<std::uint32_t>(chunk.size());
    guest->try_send(header, chunk);
    return bad->reset;
  }));
  const std::uint8_t byte = 'y';
  ASSERT_EQ(guest->send_some(*good, {&byte, 1}), 1U);
  char c = 0;
  EXPECT_EQ(::recv(good_host.get(), &c, 1, 0), 1);
}

TEST_F(HostileGuest, FloodWithoutReceivingIsNotTakenAndNotRemembered) {
  guest->refill = false;
  // Every packet asks for an answer, and no answer is ever taken.
  std::uint32_t port = 1;
  const auto flood = guest->run_until(
      [&] {
        const vsock::PacketHeader stray{.src_cid = 3,
                                        .dst_cid = 2,
                                        .src_port = port++,
                                        .dst_port = 9,
                                        .op = static_cast<std::uint16_t>(vsock::Op::rw)};
        while (guest->try_send(stray)) {
        }
        return false;
      },
      std::chrono::milliseconds(300));
  EXPECT_FALSE(flood);
  // 128 answers went, some wait, and then the ring was no longer read.
  EXPECT_LE(guest->used_index(guest->tx()), 128 + vsock::kMaxReplies);
  expect_recovery();
}

TEST_F(HostileGuest, RingsOutsideOfMemoryAreNotStarted) {
  ASSERT_TRUE(guest->stop_driver());
  DriverRing& ring = guest->tx();
  const std::uint64_t right = ring.descriptors;
  ring.descriptors = guest->memory().size() - 16;
  ASSERT_TRUE(guest->resume_driver());
  settle();
  ring.descriptors = right;
  expect_recovery();
}

TEST_F(HostileGuest, BrokenRingsWithoutEndDoNotFillTheLog) {
  auto [log, its_log] = sys::socket_pair().value();
  guest.reset();
  program_.reset();
  program_ = start_program(folder_->path(), "440", {}, its_log.get()).value();
  its_log.reset();
  guest = connect_guest(folder_->path()).value();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(guest->start_driver());
    guest->offer(guest->tx(), 0xffff);
    guest->kick_always(guest->tx());
    ASSERT_TRUE(guest->stop_driver());
  }
  program_->stop(std::chrono::seconds(10));
  const Drained said = drain(log.get(), Pattern());
  EXPECT_GT(said.bytes, 500U);
  EXPECT_LT(said.bytes, 3000U);
}

// ---------------------------------------------------------------- front-ends

/// The front-end was dropped, and the next one works.
class HostileFrontend : public HostileGuest {
 protected:
  void expect_dropped_and_next_welcome() {
    pollfd waiting{.fd = guest->socket(), .events = POLLIN, .revents = 0};
    char c = 0;
    ASSERT_GT(::poll(&waiting, 1, 10'000), 0);
    ASSERT_LE(::recv(guest->socket(), &c, 1, 0), 0);
    guest = connect_guest(folder_->path()).value();
    ASSERT_TRUE(guest->start_driver());
    expect_stream_works();
  }
};

TEST_F(HostileFrontend, UnknownRequest) {
  ASSERT_TRUE(guest->send_raw(99, {}));
  expect_dropped_and_next_welcome();
}

TEST_F(HostileFrontend, MessagesWithoutEndLeaveRoomForStreams) {
  GuestStream* stream = guest->connect_stream(440).value();
  const Fd host = accept_one(listener.get());
  const std::array<std::uint8_t, 8> features{};
  for (std::uint64_t round = 1; round <= 20; ++round) {
    for (int i = 0; i < 4 * kMessagesPerTurn; ++i) {
      pollfd room{.fd = guest->socket(), .events = POLLOUT, .revents = 0};
      ASSERT_EQ(::poll(&room, 1, 10'000), 1);
      ASSERT_TRUE(guest->send_message(Request::set_protocol_features, features));
    }
    ASSERT_EQ(::send(host.get(), "x", 1, MSG_NOSIGNAL), 1);
    ASSERT_TRUE(guest->run_until([&] { return stream->received == round; }));
  }
  expect_stream_works();
}

TEST_F(HostileFrontend, TooLongMessage) {
  const std::vector<std::uint8_t> payload(kMaxMessagePayload + 1);
  ASSERT_TRUE(guest->send_message(Request::set_config, payload));
  expect_dropped_and_next_welcome();
}

TEST_F(HostileFrontend, RingThatDoesNotExist) {
  std::array<std::uint8_t, 8> state{};
  store_le<std::uint32_t>(state, 0, 2);
  ASSERT_TRUE(guest->send_message(Request::set_vring_enable, state));
  expect_dropped_and_next_welcome();
}

TEST_F(HostileFrontend, MemoryBeyondItsFile) {
  const Fd file = sys::make_memory_file("short", 4096).value();
  std::array<std::uint8_t, 40> table{};
  store_le<std::uint32_t>(table, 0, 1);
  store_le<std::uint64_t>(table, 16, 8192);  // size
  const int fd = file.get();
  ASSERT_TRUE(guest->send_message(Request::set_mem_table, table, {&fd, 1}));
  expect_dropped_and_next_welcome();
}

TEST_F(HostileFrontend, MemoryWithoutItsDescriptor) {
  std::array<std::uint8_t, 40> table{};
  store_le<std::uint32_t>(table, 0, 1);
  store_le<std::uint64_t>(table, 16, 8192);
  ASSERT_TRUE(guest->send_message(Request::set_mem_table, table));
  expect_dropped_and_next_welcome();
}

TEST_F(HostileFrontend, KickThatCannotBeWatched) {
  const Fd file = sys::make_memory_file("kick", 4096).value();
  const std::array<std::uint8_t, 8> ring{};
  const int fd = file.get();
  ASSERT_TRUE(guest->send_message(Request::set_vring_kick, ring, {&fd, 1}));
  expect_dropped_and_next_welcome();
}

}  // namespace
}  // namespace pinhole::vhost::testing
