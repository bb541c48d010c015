// SPDX-License-Identifier: Apache-2.0
#include "vhost/host_sockets.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "sys/files.h"
#include "sys/unix_socket.h"
#include "vsock/testing/fake_ends.h"

namespace pinhole::vhost {
namespace {

using std::chrono::milliseconds;

/// Host programs' side alone, with a loop that turns when told to.
class HostSocketsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop = sys::EventLoop::make().value();
    folder_ = sys::TempDir::make().value();
    host.emplace(*loop, PortPaths{{440, path() / "vm_440"}});
    muxer.emplace(3, *host);
    ASSERT_TRUE(host->start(*muxer, sys::listen_unix(path() / "vm").value(), [] { return true; }));
  }
  [[nodiscard]] const std::filesystem::path& path() const { return folder_->path(); }
  Fd client() { return sys::connect_unix(path() / "vm").value(); }
  void turn() { loop->run_once(milliseconds(0)); }
  static bool closed(const Fd& socket) {
    pollfd waiting{.fd = socket.get(), .events = POLLIN, .revents = 0};
    char c = 0;
    return ::poll(&waiting, 1, 0) == 1 && ::recv(socket.get(), &c, 1, MSG_DONTWAIT) <= 0;
  }
  static void say(const Fd& socket, std::string_view text) {
    ASSERT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  std::unique_ptr<sys::EventLoop> loop;
  std::optional<sys::TempDir> folder_;
  std::optional<HostSockets> host;
  std::optional<vsock::Muxer> muxer;
};

TEST_F(HostSocketsTest, ClientThatSaysNothingIsClosedAfterFiveSeconds) {
  const Fd silent = client();
  turn();
  const auto deadline = host->next_deadline();
  ASSERT_TRUE(deadline);
  host->on_time(*deadline - milliseconds(1));
  EXPECT_FALSE(closed(silent));
  host->on_time(*deadline);
  EXPECT_TRUE(closed(silent));
  EXPECT_EQ(host->next_deadline(), std::nullopt);
}

TEST_F(HostSocketsTest, ClientThatDribblesIsClosedAfterFiveSecondsToo) {
  const Fd slow = client();
  turn();
  const auto deadline = *host->next_deadline();
  for (const char c : std::string_view("CONNECT 20")) {
    say(slow, {&c, 1});
    turn();
  }
  EXPECT_EQ(*host->next_deadline(), deadline);
  host->on_time(deadline);
  EXPECT_TRUE(closed(slow));
}

TEST_F(HostSocketsTest, WholeLineOpensAStreamAndEndsTheWait) {
  const Fd caller = client();
  turn();
  say(caller, "CONNECT 2000\n");
  turn();
  EXPECT_EQ(host->next_deadline(), std::nullopt);
  EXPECT_EQ(muxer->stats().half_open, 1U);
  EXPECT_FALSE(closed(caller));
}

TEST_F(HostSocketsTest, LineWithoutAnEndIsCutOff) {
  const Fd babbler = client();
  turn();
  say(babbler, "CONNECT 2000" + std::string(kMaxHandshakeLine, ' '));
  turn();
  EXPECT_TRUE(closed(babbler));
}

TEST_F(HostSocketsTest, MoreClientsThanHandshakesWaitForTheirTurn) {
  std::vector<Fd> silent;
  for (std::size_t i = 0; i < kMaxHandshakes; ++i) silent.push_back(client());
  const Fd caller = client();
  say(caller, "CONNECT 2000\n");
  turn();
  turn();
  EXPECT_EQ(muxer->stats().half_open, 0U);
  silent.clear();
  turn();
  turn();
  host->on_time(*host->next_deadline());  // looks at the waiting ones again
  turn();
  EXPECT_EQ(muxer->stats().half_open, 1U);
}

TEST_F(HostSocketsTest, KernelHoldsLittleForEachOfManyStreams) {
  const Fd listener = sys::listen_unix(path() / "vm_440").value();
  const auto now = std::chrono::steady_clock::now();
  vsock::testing::FakeRx rx;
  const auto send = [&](std::uint32_t port, vsock::Op op, std::string payload) {
    const iovec part{payload.data(), payload.size()};
    muxer->on_packet({.src_cid = 3,
                      .dst_cid = 2,
                      .src_port = port,
                      .dst_port = 440,
                      .len = static_cast<std::uint32_t>(payload.size()),
                      .op = static_cast<std::uint16_t>(op),
                      .buf_alloc = vsock::kLargestWindow},
                     {&part, 1}, now);
    muxer->pump(rx, SIZE_MAX, now);
  };
  for (std::uint32_t port = 1; port <= kWideStreams + 1; ++port) {
    send(port, vsock::Op::request, "");
  }
  ASSERT_EQ(muxer->stats().opened, kWideStreams + 1);
  const std::string data(vsock::kSmallestWindow * 12, 'x');
  send(kWideStreams, vsock::Op::rw, data);
  EXPECT_EQ(muxer->stats().buffered, 0U);
  send(kWideStreams + 1, vsock::Op::rw, data);
  EXPECT_GE(muxer->stats().buffered, data.size() - 2 * kNarrowSocketBytes);
  EXPECT_EQ(muxer->connections(), kWideStreams + 1);
}

TEST_F(HostSocketsTest, OnlyListedPortsAreConnected) {
  using Outcome = vsock::ConnectAttempt::Outcome;
  EXPECT_EQ(host->connect({.host_port = 440, .guest_port = 1, .serial = 1}).outcome,
            Outcome::refused);
  const Fd listener = sys::listen_unix(path() / "vm_440").value();
  const Fd other = sys::listen_unix(path() / "vm_441").value();
  EXPECT_EQ(host->connect({.host_port = 440, .guest_port = 1, .serial = 1}).outcome,
            Outcome::connected);
  EXPECT_EQ(host->connect({.host_port = 441, .guest_port = 1, .serial = 1}).outcome,
            Outcome::refused);
}

TEST(ConnectLine, TakesDecimalPortsOnly) {
  EXPECT_EQ(parse_connect_line("CONNECT 441"), 441U);
  EXPECT_EQ(parse_connect_line("CONNECT 4294967294"), 4294967294U);
  for (const std::string_view line :
       {"", "CONNECT", "CONNECT ", "CONNECT  1", "CONNECT 1 ", "CONNECT 0x1", "CONNECT +1",
        "CONNECT 4294967295", "CONNECT 99999999999999999999", "connect 1"}) {
    EXPECT_EQ(parse_connect_line(line), std::nullopt) << line;
  }
}

}  // namespace
}  // namespace pinhole::vhost
