// SPDX-License-Identifier: Apache-2.0
// The device as an honest guest and honest host programs meet it, through the real program.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "sys/unix_socket.h"
#include "vhost/testing/fake_guest.h"
#include "vhost/testing/host_programs.h"

namespace pinhole::vhost::testing {
namespace {

struct Rings {
  std::string name;
  bool event_idx;
  bool indirect;
};

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

/// Whatever arrives within `count` bytes.
std::string read_text(int socket, std::size_t count) {
  std::string text(count, '\0');
  std::size_t have = 0;
  while (have < count) {
    const ssize_t got = ::recv(socket, text.data() + have, count - have, 0);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

bool at_end(int socket) {
  pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
  char c = 0;
  return ::poll(&waiting, 1, 10'000) > 0 && ::recv(socket, &c, 1, 0) <= 0;
}

class VsockDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = sys::TempDir::make().value();
    program_ = start_program(path(), "440,442").value();
    listener = listen_port(path(), 440).value();
  }
  void start_guest(FakeGuestOptions options = {}) {
    guest = connect_guest(path(), options).value();
    ASSERT_TRUE(guest->start_driver());
  }
  [[nodiscard]] const std::filesystem::path& path() const { return folder_->path(); }

  std::optional<sys::TempDir> folder_;
  std::optional<sys::Process> program_;
  Fd listener;
  std::unique_ptr<FakeGuest> guest;
};

/// One question and one answer on a new stream.
void expect_round_trip(FakeGuest& guest, int listener) {
  const auto stream = guest.connect_stream(440);
  ASSERT_TRUE(stream) << stream.error().message;
  const Fd host = accept_one(listener);
  std::string answer;
  (*stream)->on_data = [&](auto bytes) { answer.append(bytes.begin(), bytes.end()); };
  ASSERT_EQ(guest.send_some(**stream, bytes_of("question")), 8U);
  EXPECT_EQ(read_text(host.get(), 8), "question");
  ASSERT_EQ(::send(host.get(), "answer", 6, MSG_NOSIGNAL), 6);
  EXPECT_TRUE(guest.run_until([&] { return answer.size() == 6; }));
  EXPECT_EQ(answer, "answer");
  (*stream)->on_data = nullptr;
}

class VsockDeviceRings : public VsockDevice, public ::testing::WithParamInterface<Rings> {};

TEST_P(VsockDeviceRings, CarryAQuestionAndItsAnswer) {
  start_guest({.event_idx = GetParam().event_idx, .indirect = GetParam().indirect});
  for (int i = 0; i < 300; ++i) expect_round_trip(*guest, listener.get());
}

INSTANTIATE_TEST_SUITE_P(Features, VsockDeviceRings,
                         ::testing::Values(Rings{"plain", false, false},
                                           Rings{"event_idx", true, false},
                                           Rings{"indirect", false, true},
                                           Rings{"both", true, true}),
                         [](const auto& info) { return info.param.name; });

TEST_F(VsockDevice, ConfigurationIsReadableBeforeThereIsMemory) {
  guest = connect_guest(path()).value();
  EXPECT_EQ(guest->config_cid(), 3U);
}

TEST_F(VsockDevice, UnlistedPortsAndAbsentProgramsAreReset) {
  start_guest();
  EXPECT_FALSE(guest->connect_stream(441));
  EXPECT_FALSE(guest->connect_stream(442));  // listed, but nobody listens
  expect_round_trip(*guest, listener.get());
}

TEST_F(VsockDevice, HostReachesTheGuestByTheSocketConvention) {
  start_guest();
  Dialled dialled;
  std::thread host([&] { dialled = dial(path(), 2000); });
  ASSERT_TRUE(guest->run_until([&] { return guest->accepted.size() == 1; }));
  host.join();
  GuestStream* stream = guest->accepted[0];
  EXPECT_EQ(stream->guest_port, 2000U);
  EXPECT_EQ(dialled.answer, "OK " + std::to_string(stream->host_port) + "\n");
  ASSERT_EQ(guest->send_some(*stream, bytes_of("hello")), 5U);
  EXPECT_EQ(read_text(dialled.socket.get(), 5), "hello");
}

TEST_F(VsockDevice, HostIsTurnedAwayWhenTheGuestRefusesOrIsNotUp) {
  guest = connect_guest(path()).value();
  EXPECT_EQ(dial(path(), 2000).answer, "");  // no driver yet
  ASSERT_TRUE(guest->start_driver());
  guest->accepting = false;
  guest->on_packet = [&](const vsock::PacketHeader& header, auto) {
    if (header.op == static_cast<std::uint16_t>(vsock::Op::request)) {
      guest->try_send(vsock::reset_for(header));
    }
  };
  Dialled dialled;
  std::atomic<bool> over = false;
  std::thread host([&] {
    dialled = dial(path(), 2000);
    over = true;
  });
  EXPECT_TRUE(guest->run_until([&] { return over.load(); }));
  host.join();
  EXPECT_FALSE(dialled.socket.get() < 0);
  EXPECT_EQ(dialled.answer, "");
}

TEST_F(VsockDevice, NonsenseInPlaceOfConnectClosesThatClientOnly) {
  start_guest();
  for (const std::string_view line :
       {"HELLO\n", "CONNECT\n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 4294967296\n",
        "CONNECT 2000 \n", "connect 2000\n", "CONNECT 00000000000000000000000002000\n"}) {
    const Fd client = sys::connect_unix(path() / "vm").value();
    ASSERT_GT(::send(client.get(), line.data(), line.size(), MSG_NOSIGNAL), 0);
    EXPECT_TRUE(at_end(client.get())) << line;
  }
  expect_round_trip(*guest, listener.get());
}

TEST_F(VsockDevice, BytesRightBehindConnectBelongToTheStream) {
  start_guest();
  const Fd client = sys::connect_unix(path() / "vm").value();
  ASSERT_EQ(::send(client.get(), "CONN", 4, MSG_NOSIGNAL), 4);
  ::poll(nullptr, 0, 1);
  ASSERT_EQ(::send(client.get(), "ECT 2000\nearly", 14, MSG_NOSIGNAL), 14);
  std::string got;
  guest->on_packet = [&](const vsock::PacketHeader&, auto bytes) {
    got.append(bytes.begin(), bytes.end());
  };
  EXPECT_TRUE(guest->run_until([&] { return got.size() == 5; }));
  EXPECT_EQ(got, "early");
}

TEST_F(VsockDevice, FullBacklogIsWaitedForNotReset) {
  const Fd narrow = listen_port(path(), 442, 1).value();
  start_guest();
  std::vector<GuestStream*> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(&guest->open(442));
  const auto count = [&](bool GuestStream::* what) {
    return std::ranges::count_if(streams, [&](const GuestStream* stream) { return stream->*what; });
  };
  ASSERT_TRUE(guest->run_until([&] { return count(&GuestStream::established) == 2; }));
  expect_round_trip(*guest, listener.get());  // the waiting ones are in nobody's way
  EXPECT_EQ(count(&GuestStream::reset), 0);
  std::vector<Fd> accepted;
  for (int i = 0; i < 8; ++i) accepted.push_back(accept_one(narrow.get()));
  EXPECT_TRUE(guest->run_until([&] { return count(&GuestStream::established) == 8; }));
  EXPECT_EQ(count(&GuestStream::reset), 0);
}

TEST_F(VsockDevice, AsManyStreamsAsAreAllowedFitIntoItsDescriptors) {
  const Fd wide = listen_port(path(), 442, 2000).value();
  start_guest();
  for (std::size_t i = 0; i < vsock::kMaxConnections; ++i) {
    const auto stream = guest->connect_stream(442);
    ASSERT_TRUE(stream) << i << ": " << stream.error().message;
  }
  EXPECT_FALSE(guest->connect_stream(442));
  guest->send_control(*guest->streams()[0], vsock::Op::rst);
  EXPECT_TRUE(guest->connect_stream(442));
}

TEST_F(VsockDevice, HalfCloseGoesBothWays) {
  start_guest();
  GuestStream* stream = guest->connect_stream(440).value();
  const Fd host = accept_one(listener.get());
  guest->send_control(*stream, vsock::Op::shutdown, vsock::kShutdownSend);
  EXPECT_TRUE(at_end(host.get()));
  ASSERT_EQ(::send(host.get(), "x", 1, MSG_NOSIGNAL), 1);
  ASSERT_TRUE(guest->run_until([&] { return stream->received == 1; }));
  ASSERT_EQ(::shutdown(host.get(), SHUT_WR), 0);
  EXPECT_TRUE(guest->run_until([&] { return stream->peer_shutdown == vsock::kShutdownBoth; }));
}

TEST_F(VsockDevice, ResetAndNewDriverStartAfresh) {
  start_guest();
  for (int round = 0; round < 5; ++round) {
    GuestStream* stream = guest->connect_stream(440).value();
    const Fd host = accept_one(listener.get());
    ASSERT_EQ(guest->send_some(*stream, bytes_of("x")), 1U);
    ASSERT_TRUE(guest->stop_driver());
    ASSERT_TRUE(guest->start_driver());
    EXPECT_EQ(read_text(host.get(), 100).size(), 1U);  // then the end
    expect_round_trip(*guest, listener.get());
  }
}

TEST_F(VsockDevice, PausedGuestKeepsItsStreams) {
  start_guest();
  GuestStream* stream = guest->connect_stream(440).value();
  const Fd host = accept_one(listener.get());
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(guest->stop_driver());
    ASSERT_EQ(::send(host.get(), "while paused", 12, MSG_NOSIGNAL), 12);
    ASSERT_TRUE(guest->resume_driver());
    ASSERT_TRUE(guest->run_until(
        [&] { return stream->received == 12 * (static_cast<std::uint64_t>(round) + 1); }));
    ASSERT_EQ(guest->send_some(*stream, bytes_of("back")), 4U);
    EXPECT_EQ(read_text(host.get(), 4), "back");
  }
  EXPECT_FALSE(stream->reset);
}

TEST_F(VsockDevice, NewMemoryTableUnderARunningDriverKeepsItsStreams) {
  start_guest();
  GuestStream* stream = guest->connect_stream(440).value();
  const Fd host = accept_one(listener.get());
  ASSERT_TRUE(guest->send_memory());
  ASSERT_EQ(guest->send_some(*stream, bytes_of("same")), 4U);
  EXPECT_EQ(read_text(host.get(), 4), "same");
}

TEST_F(VsockDevice, SecondFrontEndIsTurnedAwayAndTheNextOneIsWelcome) {
  start_guest();
  GuestStream* stream = guest->connect_stream(440).value();
  ASSERT_FALSE(stream->reset);
  const Fd host = accept_one(listener.get());
  const Fd second = sys::connect_unix(path() / "qemu").value();
  EXPECT_TRUE(at_end(second.get()));
  expect_round_trip(*guest, listener.get());
  guest.reset();
  EXPECT_TRUE(at_end(host.get()));
  start_guest();
  expect_round_trip(*guest, listener.get());
}

}  // namespace
}  // namespace pinhole::vhost::testing
