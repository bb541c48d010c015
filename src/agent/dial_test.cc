// SPDX-License-Identifier: Apache-2.0
// The operation `dial` against listeners of this process.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include <gtest/gtest.h>

#include "agent/test_operations.h"

namespace pinhole::agent {
namespace {

/// One connection on a loopback port, treated with `serve` in a thread.
class OneServer {
 public:
  explicit OneServer(int family, std::function<void(Peer&)> serve = {}) {
    listener_ = Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is_six = family == AF_INET6;
    const auto* address =
        is_six ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&four);
    ok_ = ::bind(listener_.get(), address, is_six ? sizeof(six) : sizeof(four)) == 0 &&
          ::listen(listener_.get(), 8) == 0;
    socklen_t size = sizeof(six);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&six), &size);
    port_ = ntohs(six.sin6_port);  // at the same place in both
    if (ok_ && serve) {
      thread_ = std::jthread([this, serve = std::move(serve)] {
        Peer peer(Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
        serve(peer);
      });
    }
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void close() { listener_.reset(); }
  /// Until the connection's treatment has ended.
  void finish() { thread_.join(); }

 private:
  Fd listener_;
  bool ok_ = false;
  std::uint16_t port_ = 0;
  std::jthread thread_;
};

struct DialTest : OperationsTest {
  Peer dial(const OneServer& server) { return ask(wire::DialRequest{.port = server.port()}); }
  static void say(Peer& peer, std::string_view text) {
    peer.send(wire::encode_frame(FrameType::stdin_data, text));
  }
  static void end(Peer& peer) { peer.send(wire::encode_frame(FrameType::stdin_eof, "")); }
};

TEST_F(DialTest, TheHostEndsItsWayFirst) {
  OneServer server(AF_INET, [](Peer& peer) { peer.send("got " + peer.receive_all()); });
  Peer peer = dial(server);
  say(peer, "abc");
  end(peer);
  const Outcome outcome = finish(peer);
  EXPECT_EQ(outcome.streams.at(FrameType::stdout_data), "got abc");
  EXPECT_TRUE(outcome.streams.contains(FrameType::stdout_eof));
  EXPECT_EQ(outcome.reply, wire::Reply(wire::DialReply{}));
}

TEST_F(DialTest, TheServerEndsItsWayFirst) {
  std::string got;
  OneServer server(AF_INET, [&](Peer& peer) {
    peer.send("hi");
    peer.end_sending();
    got = peer.receive_all();
    peer.close();
  });
  Peer peer = dial(server);
  wire::FrameReader frames;
  EXPECT_EQ(read_until(peer, frames, "hi"), "hi");
  say(peer, "late");
  end(peer);
  EXPECT_EQ(finish(peer, true, std::move(frames)).reply, wire::Reply(wire::DialReply{}));
  server.finish();
  EXPECT_EQ(got, "late");
}

TEST_F(DialTest, MuchGoesBothWaysAtOnce) {
  constexpr std::size_t kTotal = 8 << 20;
  OneServer server(AF_INET, [](Peer& peer) {
    for (std::string piece = peer.receive(); !piece.empty(); piece = peer.receive())
      peer.send(piece);
  });
  Peer peer = dial(server);
  wire::FrameReader frames;
  std::size_t window = wire::kStdinWindow, sent = 0, got = 0;
  std::optional<wire::Reply> reply;
  while (got < kTotal) {
    if (const std::size_t piece = std::min({window, wire::kFrameBytes, kTotal - sent}); piece > 0) {
      say(peer, std::string(piece, 'x'));
      sent += piece;
      window -= piece;
      if (sent == kTotal) end(peer);
      continue;
    }
    const std::string bytes = peer.receive();
    ASSERT_FALSE(bytes.empty()) << got;
    frames.add(bytes);
    for (auto frame = frames.next(); frame.value(); frame = frames.next()) {
      if ((*frame)->type == FrameType::stdout_data) got += (*frame)->payload.size();
      if ((*frame)->type == FrameType::window)
        window += wire::decode_window((*frame)->payload).value();
      if ((*frame)->type == FrameType::reply) reply = wire::parse_reply((*frame)->payload).value();
    }
  }
  if (!reply) reply = finish(peer, true, std::move(frames)).reply;
  EXPECT_EQ(reply, wire::Reply(wire::DialReply{}));
}

TEST_F(DialTest, AListenerOnIpv6AloneIsFound) {
  OneServer server(AF_INET6, [](Peer& peer) { peer.send("six"); });
  if (!server.ok()) GTEST_SKIP() << "no IPv6 here";
  Peer peer = dial(server);
  end(peer);
  EXPECT_EQ(finish(peer).streams.at(FrameType::stdout_data), "six");
}

TEST_F(DialTest, WithoutAListenerItIsRefused) {
  OneServer server(AF_INET);
  server.close();
  Peer peer = dial(server);
  EXPECT_EQ(
      finish(peer).reply,
      wire::Reply(wire::ErrorReply{
          .code = "refused", .message = fmt::format("nothing listens on port {}", server.port())}));
}

TEST_F(DialTest, ABrokenConnectionIsToldApartFromAnEnd) {
  OneServer server(AF_INET, [](Peer& peer) {
    peer.receive();
    const linger at_once{.l_onoff = 1, .l_linger = 0};  // close() resets it
    ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  });
  Peer peer = dial(server);
  say(peer, "x");
  const auto reply = finish(peer).reply;
  ASSERT_TRUE(reply && std::holds_alternative<wire::ErrorReply>(*reply));
  EXPECT_EQ(
      std::get<wire::ErrorReply>(*reply).message,
      fmt::format("the connection to port {} broke: Connection reset by peer", server.port()));
}

TEST_F(DialTest, AFrameThatIsNoneOfItsOwnEndsIt) {
  OneServer server(AF_INET, [](Peer& peer) { peer.receive_all(); });
  Peer peer = dial(server);
  peer.send(wire::encode_signal(9));  // a dial has none
  EXPECT_FALSE(finish(peer).reply.has_value());
}

}  // namespace
}  // namespace pinhole::agent
