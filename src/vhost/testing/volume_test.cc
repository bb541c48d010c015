// SPDX-License-Identifier: Apache-2.0
// Much data and many connections through the real program.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "vhost/testing/fake_guest.h"
#include "vhost/testing/host_programs.h"

namespace pinhole::vhost::testing {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
using std::chrono::seconds;

class VsockdVolume : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = sys::TempDir::make().value();
    program_ = start_program(path(), "440,441,442").value();
  }
  std::unique_ptr<FakeGuest> start_guest(FakeGuestOptions options = {}) {
    auto guest = connect_guest(path(), options).value();
    EXPECT_TRUE(guest->start_driver());
    return guest;
  }
  [[nodiscard]] const std::filesystem::path& path() const { return folder_->path(); }

  /// Sends `count` bytes of the pattern and half-closes.
  void send_all(FakeGuest& guest, GuestStream& stream, std::uint64_t count) {
    const auto done = guest.run_until(
        [&] {
          while (stream.sent < count) {
            const auto bytes = pattern.at(
                stream.sent,
                static_cast<std::size_t>(std::min<std::uint64_t>(count - stream.sent, 64 * 1024)));
            if (guest.send_some(stream, bytes) == 0) return stream.reset;
          }
          return true;
        },
        seconds(120));
    ASSERT_TRUE(done) << done.error().message;
    guest.send_control(stream, vsock::Op::shutdown, vsock::kShutdownSend);
  }
  /// Checks all that arrives against the pattern.
  void check_data(GuestStream& stream, bool& intact) const {
    stream.on_data = [this, &stream, &intact](std::span<const std::uint8_t> bytes) {
      intact &= pattern.matches(stream.received - bytes.size(), bytes);
    };
  }

  const Pattern pattern;
  std::optional<sys::TempDir> folder_;
  std::optional<sys::Process> program_;
};

/// What the host's end of a stream saw, from a thread of its own.
struct HostReader {
  HostReader(int listener, const Pattern& pattern, std::uint64_t pause_every)
      : thread([this, listener, &pattern, pause_every] {
          const Fd socket = accept_one(listener);
          drained = drain(socket.get(), pattern, pause_every);
        }) {}
  ~HostReader() {
    if (thread.joinable()) thread.join();
  }
  Drained drained;
  std::thread thread;
};

TEST_F(VsockdVolume, SlowHostReaderGets32MiBExactly) {
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest();
  HostReader reader(listener.get(), pattern, 256 * 1024);
  GuestStream* stream = guest->connect_stream(440).value();
  send_all(*guest, *stream, 32 * kMiB);
  ASSERT_TRUE(guest->run_until([&] { return (stream->peer_shutdown & 2) != 0; }));
  reader.thread.join();
  EXPECT_EQ(reader.drained.bytes, 32 * kMiB);
  EXPECT_TRUE(reader.drained.intact);
}

TEST_F(VsockdVolume, SlowGuestReaderGets32MiBExactly) {
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest();
  GuestStream* stream = guest->connect_stream(440).value();
  bool intact = true;
  check_data(*stream, intact);
  std::thread writer([&] {
    const Fd socket = accept_one(listener.get());
    pour(socket.get(), pattern, 32 * kMiB);
  });
  // It takes a little, lets everything fill up, takes a little more.
  std::uint64_t next_rest = kMiB;
  const auto done = guest->run_until([&] {
    if (stream->received >= next_rest) {
      next_rest += kMiB;
      ::poll(nullptr, 0, 2);
    }
    return stream->peer_shutdown == vsock::kShutdownBoth;
  });
  writer.join();
  EXPECT_TRUE(done);
  EXPECT_EQ(stream->received, 32 * kMiB);
  EXPECT_TRUE(intact);
}

TEST_F(VsockdVolume, GuestReaderThatStopsAndGoesOnLosesNothing) {
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest();
  GuestStream* stream = guest->connect_stream(440).value();
  bool intact = true;
  check_data(*stream, intact);
  stream->reading = false;
  std::thread writer([&] {
    const Fd socket = accept_one(listener.get());
    pour(socket.get(), pattern, 2 * kMiB);
  });
  ASSERT_TRUE(guest->run_until([&] { return stream->received == stream->buf_alloc; }));
  // Its buffer is full: asked for credit, it says so, and not a byte more comes.
  int asked = 0;
  guest->on_packet = [&](const vsock::PacketHeader& header, auto) {
    asked += header.op == static_cast<std::uint16_t>(vsock::Op::credit_request) ? 1 : 0;
  };
  ASSERT_TRUE(guest->run_until([&] { return asked >= 1; }));
  EXPECT_EQ(stream->received, stream->buf_alloc);
  stream->reading = true;
  stream->credited = stream->received;
  guest->send_control(*stream, vsock::Op::credit_update);
  ASSERT_TRUE(guest->run_until([&] { return stream->peer_shutdown == vsock::kShutdownBoth; }));
  writer.join();
  EXPECT_EQ(stream->received, 2 * kMiB);
  EXPECT_TRUE(intact);
}

TEST_F(VsockdVolume, FiveGiBFromTheGuestCrossTheCountersWrap) {
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest();
  HostReader reader(listener.get(), pattern, 0);
  GuestStream* stream = guest->connect_stream(440).value();
  send_all(*guest, *stream, 5 * kGiB);
  ASSERT_TRUE(guest->run_until([&] { return (stream->peer_shutdown & 2) != 0; }));
  reader.thread.join();
  EXPECT_EQ(reader.drained.bytes, 5 * kGiB);
  EXPECT_TRUE(reader.drained.intact);
}

TEST_F(VsockdVolume, FiveGiBToTheGuestCrossTheCountersWrap) {
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest({.rx_buffer = 64 * 1024});
  GuestStream* stream = guest->connect_stream(440).value();
  bool intact = true;
  check_data(*stream, intact);
  std::thread writer([&] {
    const Fd socket = accept_one(listener.get());
    pour(socket.get(), pattern, 5 * kGiB);
  });
  const auto done = guest->run_until(
      [&] { return stream->peer_shutdown == vsock::kShutdownBoth || stream->reset; }, seconds(120));
  writer.join();
  EXPECT_TRUE(done);
  EXPECT_EQ(stream->received, 5 * kGiB);
  EXPECT_TRUE(intact);
}

TEST_F(VsockdVolume, TwoStreamsProgressWhileAThirdIsStalled) {
  const Fd stalled_listener = listen_port(path(), 441).value();
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest();
  GuestStream* stalled = guest->connect_stream(441).value();
  const Fd never_read = accept_one(stalled_listener.get());
  // Fill everything that can be filled on its way.
  ASSERT_TRUE(guest->run_until([&] {
    while (guest->send_some(*stalled, pattern.at(stalled->sent, 64 * 1024)) > 0) {
    }
    return stalled->credit() == 0 && stalled->sent > 256 * 1024;
  }));
  HostReader first(listener.get(), pattern, 0);
  GuestStream* one = guest->connect_stream(440).value();
  HostReader second(listener.get(), pattern, 0);
  GuestStream* two = guest->connect_stream(440).value();
  ASSERT_TRUE(guest->run_until([&] {
    for (GuestStream* stream : {one, two}) {
      const auto left = static_cast<std::size_t>(8 * kMiB - stream->sent);
      guest->send_some(*stream, pattern.at(stream->sent, std::min<std::size_t>(left, 32 * 1024)));
    }
    return one->sent == 8 * kMiB && two->sent == 8 * kMiB;
  }));
  for (GuestStream* stream : {one, two}) {
    guest->send_control(*stream, vsock::Op::shutdown, vsock::kShutdownSend);
  }
  first.thread.join();
  second.thread.join();
  EXPECT_EQ(first.drained.bytes, 8 * kMiB);
  EXPECT_EQ(second.drained.bytes, 8 * kMiB);
  EXPECT_TRUE(first.drained.intact && second.drained.intact);
  EXPECT_FALSE(stalled->reset);
}

/// "RssAnon:   1234 kB" of a process.
std::uint64_t anonymous_kib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8));
  }
  return 0;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

/// Connects and closes, both sides taking turns to close first, `count` times.
void connect_and_close(FakeGuest& guest, int listener, int count) {
  for (int i = 0; i < count; ++i) {
    const auto stream = guest.connect_stream(440);
    ASSERT_TRUE(stream) << i << ": " << stream.error().message;
    Fd host = accept_one(listener);
    ASSERT_TRUE(host);
    if (i % 2 == 0) {
      guest.send_control(**stream, vsock::Op::shutdown, vsock::kShutdownBoth);
      ASSERT_TRUE(guest.run_until([&] { return (*stream)->reset; }));
    } else {
      host.reset();
      ASSERT_TRUE(
          guest.run_until([&] { return (*stream)->peer_shutdown == vsock::kShutdownBoth; }));
      guest.send_control(**stream, vsock::Op::rst);
    }
    guest.forget(**stream);
  }
}

TEST_F(VsockdVolume, TenThousandConnectionsLeaveNoMemoryBehind) {
  const Fd listener = listen_port(path(), 440).value();
  auto guest = start_guest();
  // The first ones fill the allocator's own pools (a sanitizer's are large).
  connect_and_close(*guest, listener.get(), 5'000);
  const std::uint64_t before = anonymous_kib(program_->pid());
  connect_and_close(*guest, listener.get(), 10'000);
  const std::uint64_t after = anonymous_kib(program_->pid());
  EXPECT_GT(before, 0U);
  // A leak of 50 bytes for each would be 488 KiB.
  EXPECT_LT(after, before + 400);
}

TEST(VsockdLeaks, ConnectionsLeaveNoDescriptorsAndNoEntriesBehind) {
  const sys::TempDir folder = sys::TempDir::make().value();
  auto backend = ThreadedBackend::start(folder.path(), "440").value();
  const Fd listener = listen_port(folder.path(), 440).value();
  auto guest = connect_guest(folder.path()).value();
  ASSERT_TRUE(guest->start_driver());
  connect_and_close(*guest, listener.get(), 10);
  const std::size_t before = open_descriptors();
  connect_and_close(*guest, listener.get(), 2'000);
  // The last packets may still be on their way.
  const auto settled = guest->run_until([&] {
    return guest->used_index(guest->tx()) == guest->tx().available_index &&
           open_descriptors() == before;
  });
  EXPECT_TRUE(settled) << before << " descriptors, then " << open_descriptors();
  backend->stop();
  EXPECT_EQ(backend->backend().muxer().stats().connections, 0U);
  EXPECT_FALSE(backend->backend().muxer().wants_guest());
}

}  // namespace
}  // namespace pinhole::vhost::testing
