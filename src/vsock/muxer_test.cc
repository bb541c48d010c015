// SPDX-License-Identifier: Apache-2.0
#include "vsock/muxer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "vsock/testing/fake_ends.h"

namespace pinhole::vsock {
namespace {

using Outcome = ConnectAttempt::Outcome;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeConnector;
using testing::FakeRx;
using testing::FakeStream;
using testing::HostEnd;

constexpr std::uint64_t kCid = 3;
constexpr std::uint32_t kGuestPort = 50'000;
constexpr std::uint32_t kHostPort = 440;

/// A guest's driver and a clock around a Muxer whose port 440 is open.
class MuxerTest : public ::testing::Test {
 protected:
  MuxerTest() { connector.outcomes[kHostPort] = Outcome::connected; }

  static PacketHeader header(Op op, std::uint32_t guest_port = kGuestPort,
                             std::uint32_t host_port = kHostPort) {
    return {.src_cid = kCid,
            .dst_cid = kHostCid,
            .src_port = guest_port,
            .dst_port = host_port,
            .op = static_cast<std::uint16_t>(op),
            .buf_alloc = kLargestWindow};
  }
  void send(const PacketHeader& packet, std::string payload = "") {
    const iovec part{payload.data(), payload.size()};
    muxer.on_packet(packet, {&part, 1}, now);
  }
  void send(Op op, std::uint32_t flags = 0) {
    PacketHeader packet = header(op);
    packet.flags = flags;
    send(packet);
  }
  void send_data(std::string payload, std::uint32_t guest_port = kGuestPort) {
    PacketHeader packet = header(Op::rw, guest_port);
    packet.len = static_cast<std::uint32_t>(payload.size());
    send(packet, std::move(payload));
  }
  /// All that is due for the guest, as operations; the headers stay in `last`.
  std::vector<Op> pump() {
    rx.packets.clear();
    muxer.pump(rx, SIZE_MAX, now);
    std::vector<Op> ops;
    for (const auto& [packet, payload] : rx.packets) ops.push_back(static_cast<Op>(packet.op));
    return ops;
  }
  void connect(std::uint32_t guest_port = kGuestPort) {
    send(header(Op::request, guest_port));
    ASSERT_EQ(pump(), std::vector{Op::response});
  }
  HostEnd& host(std::size_t index = 0) { return *connector.ends.at(index); }
  ConnectionId id(std::size_t index = 0) { return connector.asked.at(index); }
  void host_ready(std::size_t index = 0) {
    muxer.on_host_ready(id(index), {.readable = true, .writable = true}, now);
  }
  [[nodiscard]] std::size_t connections() const { return muxer.stats().connections; }

  TimePoint now{seconds(1000)};
  FakeConnector connector;
  FakeRx rx;
  Muxer muxer{kCid, connector};
};

using Ops = std::vector<Op>;

// ---------------------------------------------------------------- opening

TEST_F(MuxerTest, GuestReachesAListedPortAndOnlyThat) {
  send(header(Op::request, kGuestPort, 441));
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_EQ(rx.packets[0].first.src_port, 441U);
  EXPECT_EQ(rx.packets[0].first.dst_port, kGuestPort);
  EXPECT_EQ(connections(), 0U);

  send(Op::request);
  EXPECT_EQ(pump(), Ops{Op::response});
  EXPECT_EQ(rx.packets[0].first.src_port, kHostPort);
  EXPECT_EQ(rx.packets[0].first.buf_alloc, kFirstWindow);
  EXPECT_EQ(connections(), 1U);
}

TEST_F(MuxerTest, OnlyTheGuestsOwnCidIsAnswered) {
  PacketHeader forged = header(Op::request);
  forged.src_cid = 4;
  send(forged);
  EXPECT_EQ(pump(), Ops{});
  PacketHeader elsewhere = header(Op::request);
  elsewhere.dst_cid = 7;
  send(elsewhere);
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_EQ(rx.packets[0].first.src_cid, 7U);
}

TEST_F(MuxerTest, OnlyStreamsAreSpoken) {
  PacketHeader seqpacket = header(Op::request);
  seqpacket.type = 2;
  send(seqpacket);
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_EQ(rx.packets[0].first.type, 2U);
}

TEST_F(MuxerTest, PacketsOfNoConnectionAreResetButNeverAReset) {
  for (const Op op : {Op::response, Op::shutdown, Op::rw, Op::credit_update, Op::credit_request}) {
    send(op);
    EXPECT_EQ(pump(), Ops{Op::rst}) << static_cast<int>(op);
  }
  send(Op::rst);
  EXPECT_EQ(pump(), Ops{});
}

TEST_F(MuxerTest, FullBacklogIsTriedAgainWithBackOffUntilThereIsRoom) {
  connector.outcomes[kHostPort] = Outcome::busy;
  send(Op::request);
  EXPECT_EQ(pump(), Ops{});
  std::vector<milliseconds> waits;
  for (int i = 0; i < 8; ++i) {
    const TimePoint next = *muxer.next_deadline();
    waits.push_back(std::chrono::duration_cast<milliseconds>(next - now));
    now = next;
    muxer.on_time(now);
  }
  using namespace std::chrono_literals;
  EXPECT_EQ(waits, (std::vector<milliseconds>{5ms, 10ms, 20ms, 40ms, 80ms, 160ms, 200ms, 200ms}));
  EXPECT_EQ(connector.asked.size(), 9U);
  connector.outcomes[kHostPort] = Outcome::connected;
  now = *muxer.next_deadline();
  muxer.on_time(now);
  EXPECT_EQ(pump(), Ops{Op::response});
  EXPECT_EQ(muxer.next_deadline(), std::nullopt);
}

TEST_F(MuxerTest, HostThatStaysBusyIsGivenUpAfterTenSeconds) {
  connector.outcomes[kHostPort] = Outcome::busy;
  send(Op::request);
  const TimePoint start = now;
  while (connections() > 0) {
    now = *muxer.next_deadline();
    muxer.on_time(now);
  }
  EXPECT_EQ(now - start, kConnectTimeout);
  EXPECT_EQ(pump(), Ops{Op::rst});
}

TEST_F(MuxerTest, SecondRequestOnALiveConnectionEndsIt) {
  connect();
  send(Op::request);
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_TRUE(host().closed);
}

TEST_F(MuxerTest, HostReachesTheGuestAndIsToldItsPort) {
  const auto opened = muxer.open(2000, now);
  auto end = std::make_shared<HostEnd>();
  muxer.give_stream(*opened, std::make_unique<FakeStream>(end));
  EXPECT_EQ(pump(), Ops{Op::request});
  EXPECT_EQ(rx.packets[0].first.dst_port, 2000U);
  EXPECT_EQ(end->ok_port, 0U);
  send(header(Op::response, 2000, opened->host_port));
  EXPECT_EQ(end->ok_port, kFirstHostPort);
  end->to_send = "hello";
  muxer.on_host_ready(*opened, {.readable = true}, now);
  EXPECT_EQ(pump(), Ops{Op::rw});
  EXPECT_EQ(rx.packets[0].second, "hello");
}

TEST_F(MuxerTest, HostIsTurnedAwayWhenTheGuestResetsOrDoesNotAnswer) {
  const auto refused = muxer.open(2000, now);
  auto first = std::make_shared<HostEnd>();
  muxer.give_stream(*refused, std::make_unique<FakeStream>(first));
  pump();
  send(header(Op::rst, 2000, refused->host_port));
  EXPECT_TRUE(first->closed);
  EXPECT_EQ(first->ok_port, 0U);

  const auto ignored = muxer.open(2000, now);
  auto second = std::make_shared<HostEnd>();
  muxer.give_stream(*ignored, std::make_unique<FakeStream>(second));
  pump();
  now += kRequestTimeout;
  muxer.on_time(now);
  EXPECT_TRUE(second->closed);
  EXPECT_EQ(pump(), Ops{Op::rst});
}

TEST_F(MuxerTest, GuestCannotAcceptWhatItWasNotAskedYet) {
  const auto opened = muxer.open(2000, now);
  auto end = std::make_shared<HostEnd>();
  muxer.give_stream(*opened, std::make_unique<FakeStream>(end));
  send(header(Op::response, 2000, opened->host_port));
  EXPECT_TRUE(end->closed);
  EXPECT_EQ(end->ok_port, 0U);
}

// ---------------------------------------------------------------- bytes and credit

TEST_F(MuxerTest, BytesFlowBothWays) {
  connect();
  send_data("question");
  EXPECT_EQ(host().received, "question");
  host().to_send = "answer";
  host_ready();
  EXPECT_EQ(pump(), Ops{Op::rw});
  EXPECT_EQ(rx.packets[0].second, "answer");
  EXPECT_EQ(rx.packets[0].first.fwd_cnt, 8U);
}

TEST_F(MuxerTest, GuestThatSendsPastItsCreditIsReset) {
  connect();
  host().room = 0;
  send_data(std::string(kFirstWindow, 'x'));
  EXPECT_EQ(connections(), 1U);
  EXPECT_EQ(muxer.stats().buffered, kFirstWindow);
  send_data("y");
  EXPECT_EQ(connections(), 0U);
  EXPECT_EQ(pump(), Ops{Op::rst});
}

TEST_F(MuxerTest, CreditIsGivenBackAsTheHostReads) {
  connect();
  host().room = 0;
  send_data(std::string(kFirstWindow, 'x'));
  EXPECT_EQ(pump(), Ops{});  // nothing was taken: no news
  host().room = kFirstWindow / 8;
  host_ready();
  EXPECT_EQ(pump(), Ops{Op::credit_update});
  EXPECT_EQ(rx.packets[0].first.fwd_cnt, kFirstWindow / 8);
  send_data(std::string(kFirstWindow / 8, 'y'));
  EXPECT_EQ(connections(), 1U);
  send_data("z");
  EXPECT_EQ(connections(), 0U);
}

TEST_F(MuxerTest, CreditPromisedWhileTheGuestHadNoBufferIsToldLater) {
  connect();
  rx.buffers = 0;
  send_data(std::string(kFirstWindow, 'x'));
  EXPECT_EQ(pump(), Ops{});
  rx.buffers = 10;
  EXPECT_EQ(pump(), Ops{Op::credit_update});
  EXPECT_EQ(rx.packets[0].first.fwd_cnt, kFirstWindow);
}

TEST_F(MuxerTest, WindowGrowsWithUseUpToItsLimit) {
  connect();
  std::uint32_t window = kFirstWindow;
  for (int i = 0; i < 40; ++i) {
    send_data(std::string(kMaxPayload, 'x'));
    ASSERT_EQ(connections(), 1U);
    pump();
    if (!rx.packets.empty()) window = rx.packets.back().first.buf_alloc;
  }
  EXPECT_EQ(window, kLargestWindow);
}

TEST_F(MuxerTest, GuestThatSendsNoMoreThanItsOwnBufferHoldsNeverWaits) {
  constexpr std::uint32_t kOwn = 64 * 1024;
  PacketHeader request = header(Op::request);
  request.buf_alloc = kOwn;
  send(request);
  ASSERT_EQ(pump(), Ops{Op::response});
  std::uint64_t sent = 0;
  std::uint32_t told = 0;  // fwd_cnt, as the guest knows it
  for (int i = 0; i < 40; ++i) {
    ASSERT_LT(sent - told, kOwn) << "the guest waits for credit that never comes";
    PacketHeader data = header(Op::rw);
    data.buf_alloc = kOwn;
    std::string bytes(kOwn - (sent - told), 'x');
    data.len = static_cast<std::uint32_t>(bytes.size());
    const iovec part{bytes.data(), bytes.size()};
    muxer.on_packet(data, {&part, 1}, now);
    sent += bytes.size();
    pump();
    if (!rx.packets.empty()) {
      told = rx.packets.back().first.fwd_cnt;
      EXPECT_EQ(rx.packets.back().first.buf_alloc, kOwn);  // more would be of no use to it
    }
  }
}

TEST_F(MuxerTest, HostIsReadOnlyAsFarAsTheGuestHasCredit) {
  PacketHeader request = header(Op::request);
  request.buf_alloc = 10;
  send(request);
  ASSERT_EQ(pump(), Ops{Op::response});
  host().to_send = "0123456789abcdef";
  host_ready();
  EXPECT_EQ(pump(), (Ops{Op::rw, Op::credit_request}));
  EXPECT_EQ(rx.packets[0].second, "0123456789");
  PacketHeader update = header(Op::credit_update);
  update.buf_alloc = 10;
  update.fwd_cnt = 3;
  send(update);
  EXPECT_EQ(pump(), (Ops{Op::rw, Op::credit_request}));
  EXPECT_EQ(rx.packets[0].second, "abc");
}

TEST_F(MuxerTest, GuestThatOwesCreditIsRemindedOnceASecond) {
  PacketHeader request = header(Op::request);
  request.buf_alloc = 1;
  send(request);
  pump();
  host().to_send = "ab";
  host_ready();
  EXPECT_EQ(pump(), (Ops{Op::rw, Op::credit_request}));
  EXPECT_EQ(pump(), Ops{});
  now += kCreditReminder;
  muxer.on_time(now);
  EXPECT_EQ(pump(), Ops{Op::credit_request});
}

TEST_F(MuxerTest, GuestThatLiesAboutItsCreditGetsNothing) {
  connect();
  PacketHeader lie = header(Op::credit_update);
  lie.fwd_cnt = 1;  // it has taken more than was sent
  send(lie);
  host().to_send = "secret";
  host_ready();
  EXPECT_EQ(pump(), Ops{});
  EXPECT_EQ(connections(), 1U);
}

TEST_F(MuxerTest, CreditRequestIsAnswered) {
  connect();
  send_data("abc");
  send(Op::credit_request);
  EXPECT_EQ(pump(), Ops{Op::credit_update});
  EXPECT_EQ(rx.packets[0].first.fwd_cnt, 3U);
  EXPECT_EQ(rx.packets[0].first.buf_alloc, kFirstWindow);
}

TEST_F(MuxerTest, CountersWrapAtFourGigabytesInBothDirections) {
  connect();
  host().keep_received = false;
  rx.keep_payload = false;
  rx.payload_size = kMaxPayload;
  constexpr std::uint64_t kTotal = (std::uint64_t{4} << 30) + (8 << 20);
  host().endless = kTotal;
  const std::string chunk(kMaxPayload, 'x');
  std::uint64_t sent = 0;
  std::uint64_t got = 0;
  host_ready();
  while (sent < kTotal || got < kTotal) {
    if (sent < kTotal) {
      PacketHeader data = header(Op::rw);
      data.len = kMaxPayload;
      data.fwd_cnt = static_cast<std::uint32_t>(got);
      const iovec part{const_cast<char*>(chunk.data()), chunk.size()};
      muxer.on_packet(data, {&part, 1}, now);
      sent += kMaxPayload;
    }
    rx.packets.clear();
    muxer.pump(rx, SIZE_MAX, now);
    for (const auto& [packet, payload] : rx.packets) got += packet.len;
    ASSERT_EQ(connections(), 1U) << sent;
    PacketHeader update = header(Op::credit_update);
    update.fwd_cnt = static_cast<std::uint32_t>(got);
    send(update);
  }
  EXPECT_EQ(host().received_bytes, kTotal);
  EXPECT_EQ(got, kTotal);
}

// ---------------------------------------------------------------- turns and limits

TEST_F(MuxerTest, StreamsTakeTurnsAndAStalledOneStopsNobody) {
  for (std::uint32_t port = 1; port <= 3; ++port) connect(port);
  for (std::size_t i = 0; i < 3; ++i) {
    host(i).endless = 1 << 20;
    host_ready(i);
  }
  PacketHeader stalled = header(Op::credit_update, 2);
  stalled.buf_alloc = 0;
  send(stalled);
  rx.packets.clear();
  EXPECT_EQ(muxer.pump(rx, 4 * kQuantum, now), Pumped::more);
  std::map<std::uint32_t, std::uint64_t> bytes;
  for (const auto& [packet, payload] : rx.packets) bytes[packet.dst_port] += packet.len;
  EXPECT_EQ(bytes[1], 2 * kQuantum);
  EXPECT_EQ(bytes[2], 0U);
  EXPECT_EQ(bytes[3], 2 * kQuantum);
}

TEST_F(MuxerTest, HostProgramThatDoesNotReadHoldsUpOnlyItself) {
  connect(1);
  connect(2);
  host(0).room = 0;
  send_data(std::string(kFirstWindow, 'x'), 1);
  for (int i = 0; i < 100; ++i) {
    send_data(std::string(1000, 'y'), 2);
    pump();
  }
  EXPECT_EQ(host(1).received_bytes, 100'000U);
  EXPECT_EQ(connections(), 2U);
}

TEST_F(MuxerTest, ConnectionsAreBounded) {
  for (std::uint32_t port = 1; port <= kMaxConnections; ++port) connect(port);
  now += seconds(1);
  EXPECT_EQ(muxer.stats().limited, 1U);  // it was quick
  send(header(Op::request, 60'000));
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_FALSE(muxer.open(2000, now));
  EXPECT_EQ(muxer.stats().limited, 3U);
  send(header(Op::rst, 1));
  connect(60'000);
}

TEST_F(MuxerTest, HalfOpenConnectionsAreBounded) {
  connector.outcomes[kHostPort] = Outcome::busy;
  for (std::uint32_t port = 1; port <= kMaxHalfOpen; ++port) send(header(Op::request, port));
  EXPECT_EQ(pump(), Ops{});
  EXPECT_EQ(muxer.stats().half_open, kMaxHalfOpen);
  send(header(Op::request, 60'000));
  EXPECT_EQ(pump(), Ops{Op::rst});
  send(header(Op::rst, 1));
  connector.outcomes[kHostPort] = Outcome::connected;
  connect(60'000);
}

TEST_F(MuxerTest, BufferedBytesOfAllConnectionsStayWithinTheLimit) {
  for (std::uint32_t port = 1; port <= kMaxConnections; ++port) connect(port);
  now += seconds(1);
  for (std::uint32_t port = 1; port <= kMaxConnections; ++port) {
    host(port - 1).room = 0;
    std::uint32_t window = 0;
    send(header(Op::credit_request, port));
    pump();
    window = rx.packets.back().first.buf_alloc;
    send_data(std::string(window, 'x'), port);
  }
  EXPECT_EQ(connections(), kMaxConnections);
  EXPECT_LE(muxer.stats().buffered, kMaxBuffered);
}

TEST_F(MuxerTest, AnswersThatTheGuestDoesNotTakeStopItsRing) {
  rx.buffers = 0;
  std::uint32_t port = 1;
  while (muxer.accepts_packets(now)) send(header(Op::rw, port++));
  EXPECT_EQ(muxer.stats().replies, kMaxReplies);
  EXPECT_EQ(muxer.pump(rx, SIZE_MAX, now), Pumped::starved);
  rx.buffers = 1;
  muxer.pump(rx, SIZE_MAX, now);
  EXPECT_TRUE(muxer.accepts_packets(now));
}

TEST_F(MuxerTest, OpeningAndResettingWithoutReceivingRemembersNothing) {
  rx.buffers = 0;
  for (int i = 0; i < 5000; ++i, now += milliseconds(1)) {
    send(Op::request);
    muxer.pump(rx, SIZE_MAX, now);
    send(Op::rst);
  }
  EXPECT_EQ(connections(), 0U);
  EXPECT_FALSE(muxer.wants_guest());
}

TEST_F(MuxerTest, ConnectionsThatComeTooQuicklyAreSlowedDownAndNotRefused) {
  const auto open = [&] {
    send(Op::request);
    EXPECT_EQ(pump(), Ops{Op::response});
  };
  for (std::uint32_t i = 1; i < kRequestBurst; ++i) {
    open();
    send(Op::rst);
  }
  open();
  // Nothing is read, not even what opens nothing: packets keep their order.
  EXPECT_FALSE(muxer.accepts_packets(now));
  EXPECT_EQ(muxer.next_deadline(), now + kRequestInterval);
  EXPECT_EQ(muxer.stats().limited, 1U);
  // A new driver has no new allowance.
  muxer.reset();
  EXPECT_FALSE(muxer.accepts_packets(now));
  now = *muxer.next_deadline();
  muxer.on_time(now);
  EXPECT_EQ(muxer.next_deadline(), std::nullopt);
  EXPECT_TRUE(muxer.accepts_packets(now));
  open();
  EXPECT_FALSE(muxer.accepts_packets(now));
  EXPECT_EQ(muxer.stats().opened, kRequestBurst + 1U);
}

TEST_F(MuxerTest, ConnectionsAtTheRateAreNeverSlowedDown) {
  for (std::uint32_t i = 0; i < kRequestsPerSecond; ++i) {
    ASSERT_TRUE(muxer.accepts_packets(now)) << i;
    send(Op::request);
    ASSERT_EQ(pump(), Ops{Op::response});
    send(Op::rst);
    now += kRequestInterval;
  }
  EXPECT_EQ(muxer.stats().limited, 0U);
  EXPECT_EQ(muxer.stats().reset, 0U);
}

TEST_F(MuxerTest, RefusalsOfPortsThatAreNotListedAreCountedAsResets) {
  send(header(Op::request, 1, 9));
  send(header(Op::rw, 2, 9));
  EXPECT_EQ(pump(), (Ops{Op::rst, Op::rst}));
  EXPECT_EQ(muxer.stats().reset, 2U);
  EXPECT_EQ(muxer.stats().opened, 0U);
}

// ---------------------------------------------------------------- endings

TEST_F(MuxerTest, GuestHalfCloseReachesTheHostAfterItsBytes) {
  connect();
  host().room = 2;
  send_data("abcd");
  send(Op::shutdown, kShutdownSend);
  EXPECT_FALSE(host().write_shut);
  host().room = 10;
  host_ready();
  EXPECT_EQ(host().received, "abcd");
  EXPECT_TRUE(host().write_shut);
  host().to_send = "reply";
  host_ready();
  EXPECT_EQ(pump(), Ops{Op::rw});
  EXPECT_FALSE(host().closed);
}

TEST_F(MuxerTest, BytesAfterTheGuestsOwnHalfCloseAreResetAndNotDelivered) {
  connect();
  send(Op::shutdown, kShutdownSend);
  send_data("late");
  EXPECT_EQ(connections(), 0U);
  EXPECT_EQ(host().received, "");
}

TEST_F(MuxerTest, HostHalfCloseReachesTheGuestAfterItsBytes) {
  connect();
  host().to_send = "all";
  host().sends_end = true;
  host_ready();
  EXPECT_EQ(pump(), (Ops{Op::rw, Op::shutdown}));
  EXPECT_EQ(rx.packets[1].first.flags, kShutdownSend);
  send_data("still heard");
  EXPECT_EQ(host().received, "still heard");
}

TEST_F(MuxerTest, HostThatClosesIsToldToTheGuestAndForgottenOnItsReset) {
  connect();
  host().to_send = "last words";
  host().sends_end = true;
  muxer.on_host_ready(id(), {.readable = true, .writable = true, .hung_up = true}, now);
  EXPECT_EQ(pump(), (Ops{Op::shutdown, Op::rw, Op::shutdown}));
  EXPECT_EQ(rx.packets[0].first.flags, kShutdownReceive);
  EXPECT_EQ(rx.packets[2].first.flags, kShutdownBoth);
  EXPECT_TRUE(host().closed);
  send_data("crossing");  // sent before the guest knew
  EXPECT_EQ(pump(), Ops{});
  send(Op::rst);
  EXPECT_EQ(connections(), 0U);
  EXPECT_EQ(pump(), Ops{});
}

TEST_F(MuxerTest, GuestThatDoesNotConfirmTheEndIsResetAfterTenSeconds) {
  connect();
  host().sends_end = true;
  muxer.on_host_ready(id(), {.readable = true, .hung_up = true}, now);
  pump();
  EXPECT_EQ(connections(), 1U);
  now += kClosingTimeout;
  muxer.on_time(now);
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_EQ(connections(), 0U);
}

TEST_F(MuxerTest, GuestThatClosesIsConfirmedOnceItsBytesAreDelivered) {
  connect();
  host().room = 0;
  send_data("tail");
  send(Op::shutdown, kShutdownBoth);
  EXPECT_EQ(pump(), Ops{});
  host().room = 100;
  host_ready();
  EXPECT_EQ(host().received, "tail");
  EXPECT_TRUE(host().closed);
  EXPECT_EQ(pump(), Ops{Op::rst});
}

TEST_F(MuxerTest, GuestThatGivesUpWaitingHasNotTakenBackWhatItSent) {
  connect();
  host().room = 0;
  send_data("tail");
  send(Op::shutdown, kShutdownBoth);
  send(Op::rst);  // Linux, after eight seconds
  host().room = 100;
  host_ready();
  EXPECT_EQ(host().received, "tail");
  EXPECT_TRUE(host().closed);
  EXPECT_EQ(pump(), Ops{});
}

TEST_F(MuxerTest, FinishedGuestsBytesAreNotKeptForEverForAHostThatNeverReads) {
  connect();
  host().room = 0;
  send_data("tail");
  send(Op::shutdown, kShutdownBoth);
  now += kDrainTimeout;
  muxer.on_time(now);
  EXPECT_TRUE(host().closed);
  EXPECT_EQ(connections(), 0U);
}

TEST_F(MuxerTest, ResetByTheGuestClosesTheHostAtOnce) {
  connect();
  host().room = 0;
  send_data("dropped");
  send(Op::rst);
  EXPECT_TRUE(host().closed);
  EXPECT_EQ(pump(), Ops{});
}

TEST_F(MuxerTest, BothHalfClosedEndsTheConnection) {
  connect();
  send(Op::shutdown, kShutdownSend);
  host().sends_end = true;
  host_ready();
  EXPECT_EQ(pump(), Ops{Op::shutdown});
  EXPECT_EQ(rx.packets[0].first.flags, kShutdownBoth);
  EXPECT_TRUE(host().closed);
}

TEST_F(MuxerTest, BrokenHostStreamResetsTheGuest) {
  connect();
  host().broken = true;
  host_ready();
  EXPECT_EQ(pump(), Ops{Op::rst});
  EXPECT_EQ(connections(), 0U);
}

TEST_F(MuxerTest, MalformedPacketsEndOnlyTheirConnection) {
  const auto unknown_op = [] {
    PacketHeader packet = header(Op::rw, 1);
    packet.op = 99;
    return packet;
  };
  const auto too_long = [] {
    PacketHeader packet = header(Op::rw, 1);
    packet.len = kMaxPayload + 1;
    return packet;
  };
  const auto without_its_payload = [] {
    PacketHeader packet = header(Op::rw, 1);
    packet.len = 10;
    return packet;
  };
  const auto control_with_payload = [] {
    PacketHeader packet = header(Op::credit_update, 1);
    packet.len = 1;
    return packet;
  };
  connect(2);
  for (const PacketHeader& packet :
       {unknown_op(), too_long(), without_its_payload(), control_with_payload()}) {
    connect(1);
    send(packet, packet.len > 100 ? std::string(packet.len, 'x') : "1");
    EXPECT_EQ(connections(), 1U) << packet.op << " " << packet.len;
    EXPECT_EQ(pump(), Ops{Op::rst});
  }
  send_data("fine", 2);
  EXPECT_EQ(host(0).received, "fine");
}

TEST_F(MuxerTest, NewDriverStartsWithNothing) {
  connect();
  connector.outcomes[kHostPort] = Outcome::busy;
  send(header(Op::request, 7));
  send(header(Op::rw, 8));
  muxer.reset();
  EXPECT_TRUE(host().closed);
  EXPECT_EQ(connections(), 0U);
  EXPECT_EQ(muxer.stats().half_open, 0U);
  EXPECT_EQ(muxer.next_deadline(), std::nullopt);
  EXPECT_EQ(pump(), Ops{});
  connector.outcomes[kHostPort] = Outcome::connected;
  connect();
}

TEST_F(MuxerTest, WaitsStartAnewAfterAPause) {
  const auto opened = muxer.open(2000, now);
  auto end = std::make_shared<HostEnd>();
  muxer.give_stream(*opened, std::make_unique<FakeStream>(end));
  pump();
  now += std::chrono::hours(1);
  muxer.restart_waits(now);
  muxer.on_time(now);
  EXPECT_FALSE(end->closed);
  EXPECT_EQ(*muxer.next_deadline() - now, kRequestTimeout);
}

}  // namespace
}  // namespace pinhole::vsock
