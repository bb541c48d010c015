// SPDX-License-Identifier: Apache-2.0
#include "agent/fetch.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "agent/proxy.h"
#include "agent/test_host.h"
#include "base/sha256.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

struct FetchTest : testing::Test {
  sys::TempDir dir = sys::TempDir::make().value();
  std::string body;
  BodySink sink = [this](std::string_view bytes) {
    body += bytes;
    return Result<void>();
  };
  [[nodiscard]] std::filesystem::path door_path() const { return dir.path() / "door"; }

  /// What a fetch makes of these bytes from the door; its request's head is left in `head`.
  std::string head;
  Result<FetchResult> against(std::string answer, FetchRequest request = {}) {
    FakeDoor door(door_path(), 1, [&](Peer& peer) {
      read_head(peer);
      peer.send(answer);
    });
    request.door = door.endpoint();
    if (request.url.empty()) request.url = "http://a/x";
    return run_to_end(fetch(std::move(request), sink));
  }
  void read_head(Peer& peer) {
    head.clear();
    while (!head.ends_with("\r\n\r\n")) {
      const std::string line = peer.line();
      if (line.empty()) return;
      head += line + "\n";
    }
  }
};

TEST_F(FetchTest, ABodyWithALength) {
  const auto result = against("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->summary(), "status=200 bytes=5 sha256=" + sha256_hex("hello"));
  EXPECT_EQ(body, "hello");
  EXPECT_TRUE(head.starts_with("GET http://a/x HTTP/1.1\r\nHost: a\r\n")) << head;
}

TEST_F(FetchTest, ABodyInChunksWithTrailers) {
  const auto result = against(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n"
      "0\r\nT: t\r\n\r\n");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(body, "hello!");
}

TEST_F(FetchTest, ABodyThatEndsWithTheConnection) {
  ASSERT_TRUE(against("HTTP/1.0 200 OK\r\n\r\nhello"));
  EXPECT_EQ(body, "hello");
}

TEST_F(FetchTest, AnEmptyBodyAndAnswersWithoutOne) {
  EXPECT_EQ(against("HTTP/1.1 204 No Content\r\n\r\n")->status, 204U);
  const auto head_only =
      against("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", {.method = "HEAD"});
  ASSERT_TRUE(head_only) << head_only.error().message;
  EXPECT_EQ(head_only->bytes, 0U);
}

TEST_F(FetchTest, InterimAnswersAreSkippedButNotWithoutEnd) {
  const std::string interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  EXPECT_EQ(against(interim + interim + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")->status,
            200U);
  std::string endless;
  for (int i = 0; i < 100; ++i) endless += interim;
  EXPECT_EQ(against(endless).error().message, "too many interim answers (1xx)");
}

TEST_F(FetchTest, ATruncatedBodyIsAFailure) {
  const auto sized = against("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
  EXPECT_EQ(sized.error().message, "the answer was cut off after 5 bytes of its body");
  EXPECT_EQ(sized.error().exit_status, 18);
  const auto chunked = against("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
  EXPECT_EQ(chunked.error().code, "truncated");
  const auto no_last_chunk =
      against("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  EXPECT_EQ(no_last_chunk.error().code, "truncated");
  EXPECT_EQ(against("HTTP/1.1 200 OK\r\nContent-").error().code, "truncated");
  EXPECT_EQ(against("").error().message, "the connection ended before there was an answer");
}

TEST_F(FetchTest, WhatIsNotHttpIsSaidSo) {
  EXPECT_EQ(against("SSH-2.0-OpenSSH\r\n\r\n").error().code, "invalid_response");
  EXPECT_EQ(against("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n").error().message,
            "the server switched protocols unasked");
  const std::string flood = "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n";
  EXPECT_EQ(against(flood).error().code, "invalid_response");
}

TEST_F(FetchTest, AProblemBodyGivesCodeAndRule) {
  const std::string problem =
      R"({"status":403,"code":"denied_by_policy","detail":"no rule","rule":"p.yaml:3","fix":"ask"})";
  const auto result =
      against(fmt::format("HTTP/1.1 403 Forbidden\r\nContent-Type: "
                          "application/problem+json\r\nContent-Length: {}\r\n\r\n{}",
                          problem.size(), problem));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->summary(), "status=403 code=denied_by_policy rule=p.yaml:3");
  EXPECT_EQ(result->detail, "no rule");
  EXPECT_EQ(result->fix, "ask");
}

TEST_F(FetchTest, AnOrdinary403HasNoCode) {
  const auto result = against(
      "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
      "{\"code\":\"fake\"");
  EXPECT_EQ(result->summary(), "status=403 bytes=14 sha256=" + sha256_hex("{\"code\":\"fake\""));
}

/// Answers by path: /from redirects, /to answers, everything else is refused as the door refuses.
std::string redirect_answer(const std::string& head, const std::string& location) {
  if (head.find(" http://a/from ") != std::string::npos) {
    return "HTTP/1.1 302 Found\r\nLocation: " + location + "\r\nContent-Length: 4\r\n\r\ngone";
  }
  if (head.find("/to ") != std::string::npos) {
    return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere";
  }
  return "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n"
         "Content-Length: 45\r\n\r\n{\"code\":\"denied_by_policy\",\"rule\":\"p.yaml:9\"}";
}

struct RedirectTest : FetchTest {
  std::string heads;
  Result<FetchResult> follow(const std::string& location, int connections, FetchRequest request) {
    FakeDoor door(door_path(), connections, [&](Peer& peer) {
      read_head(peer);
      heads += head;
      peer.send(redirect_answer(head, location));
    });
    request.door = door.endpoint();
    request.url = "http://a/from";
    return run_to_end(fetch(std::move(request), sink));
  }
};

TEST_F(RedirectTest, IsNotFollowedUnasked) {
  const auto result = follow("/to", 1, {});
  EXPECT_EQ(result->status, 302U);
  EXPECT_EQ(body, "gone");
}

TEST_F(RedirectTest, IsFollowedWhenAskedAndOnlyTheLastBodyCounts) {
  const auto result = follow("/to", 2, {.follow = true});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->status, 200U);
  EXPECT_EQ(result->redirects, 1U);
  EXPECT_EQ(result->url, "http://a/to");
  EXPECT_EQ(body, "there");
}

TEST_F(RedirectTest, ToSomewhereRefusedIsRedirectBlocked) {
  const auto result = follow("http://169.254.169.254/", 2, {.follow = true});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->summary(), "status=403 code=redirect_blocked rule=p.yaml:9");
}

TEST_F(RedirectTest, AwayFromHttpIsRedirectBlocked) {
  const auto result = follow("file:///etc/passwd", 1, {.follow = true});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->code, "redirect_blocked");
}

TEST_F(RedirectTest, LoopsEnd) {
  const auto result = follow("/from", 4, {.follow = true, .max_redirects = 3});
  EXPECT_EQ(result.error().message, "more than 3 redirects");
}

TEST_F(RedirectTest, APostBecomesAGetAndCredentialsStayWithTheirHost) {
  const auto result = follow("http://b/to", 2,
                             {.method = "POST",
                              .headers = {{"Authorization", "secret"}, {"X-Kept", "y"}},
                              .body = FetchBody{.bytes = ""},
                              .follow = true});
  ASSERT_TRUE(result) << result.error().message;
  const std::string second = heads.substr(heads.find("http://b/to") - 4);
  EXPECT_TRUE(second.starts_with("GET http://b/to ")) << second;
  EXPECT_EQ(second.find("secret"), std::string::npos);
  EXPECT_NE(second.find("X-Kept: y"), std::string::npos);
}

TEST_F(FetchTest, AFileIsSentWithItsSize) {
  const std::string content(200'000, 'u');
  ASSERT_TRUE(sys::write_file_atomic(dir.path() / "file", content));
  std::string received;
  FakeDoor door(door_path(), 1, [&](Peer& peer) {
    while (received.find("\r\n\r\n") == std::string::npos ||
           received.size() < received.find("\r\n\r\n") + 4 + content.size()) {
      const std::string piece = peer.receive();
      if (piece.empty()) return;
      received += piece;
    }
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  const int fd = ::open((dir.path() / "file").c_str(), O_RDONLY | O_CLOEXEC);
  FetchRequest request{.door = door.endpoint(), .method = "POST", .url = "http://a/"};
  request.body = FetchBody{.file = std::make_shared<Fd>(fd)};
  const auto result = run_to_end(fetch(std::move(request), {}));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_NE(received.find("Content-Length: 200000\r\n"), std::string::npos);
  EXPECT_TRUE(received.ends_with(content));
}

TEST_F(FetchTest, AnAnswerBeforeTheWholeUploadCounts) {
  FakeDoor door(door_path(), 1, [&](Peer& peer) {
    read_head(peer);
    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
  });
  FetchRequest request{.door = door.endpoint(), .method = "POST", .url = "http://a/"};
  request.body = FetchBody{.bytes = std::string(16 << 20, 'x')};
  const auto result = run_to_end(fetch(std::move(request), {}));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->status, 413U);
}

TEST_F(FetchTest, SilenceIsATimeoutAndNoDoorIsUnreachable) {
  Listener silent(dir.path() / "silent");
  FetchRequest request{.door = silent.endpoint(), .url = "http://a/"};
  request.idle_limit = std::chrono::milliseconds(20);
  EXPECT_EQ(run_to_end(fetch(request, {})).error().code, "timeout");
  request.door = UnixPath{(dir.path() / "nobody").string()};
  const auto missing = run_to_end(fetch(request, {}));
  EXPECT_EQ(missing.error().code, "unreachable");
  EXPECT_EQ(missing.error().exit_status, 7);
}

TEST_F(FetchTest, ASinkThatFailsEndsTheFetch) {
  sink = [](std::string_view) { return fail("disk full"); };
  EXPECT_EQ(against("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").error().message,
            "disk full");
}

// The proxy's copying.

struct RelayTest : testing::Test {
  asio::io_context context;
  /// A relay between two pairs; what the test holds are the outer ends.
  std::pair<Peer, Peer> start() {
    auto left = sys::socket_pair().value();
    auto right = sys::socket_pair().value();
    Stream inner_left(context, {AF_UNIX, 0}, left.second.release());
    Stream inner_right(context, {AF_UNIX, 0}, right.first.release());
    asio::co_spawn(context, relay(std::move(inner_left), std::move(inner_right)), asio::detached);
    thread = std::jthread([this] { context.run(); });
    return {Peer(std::move(left.first)), Peer(std::move(right.second))};
  }
  std::jthread thread;
};

TEST_F(RelayTest, AHalfCloseTravelsAndTheOtherWayStaysOpen) {
  auto [client, door] = start();
  EXPECT_TRUE(client.send("request"));
  client.end_sending();
  EXPECT_EQ(door.receive_all(), "request");
  EXPECT_TRUE(door.send("answer"));
  door.close();
  EXPECT_EQ(client.receive_all(), "answer");
}

TEST_F(RelayTest, EveryByteArrivesWithASlowReaderBehindBackPressure) {
  auto [client, door] = start();
  const std::string block(1 << 20, 'b');
  Sha256 sent;
  std::jthread writer([&client, &block, &sent] {
    for (int i = 0; i < 32; ++i) {
      std::string piece = block;
      piece[0] = static_cast<char>(i);
      sent.update(piece);
      client.send(piece);
    }
    client.end_sending();
  });
  Sha256 received;
  std::uint64_t bytes = 0;
  for (std::string piece = door.receive(); !piece.empty(); piece = door.receive()) {
    received.update(piece);
    bytes += piece.size();
  }
  writer.join();
  EXPECT_EQ(bytes, 32U << 20);
  EXPECT_EQ(received.finish_hex(), sent.finish_hex());
}

TEST_F(RelayTest, ABrokenSideEndsTheOther) {
  auto [client, door] = start();
  client.close();
  EXPECT_EQ(door.receive_all(), "");
  // Writing towards the closed client breaks the relay, and with it this side.
  while (door.send("x")) {
  }
}

}  // namespace
}  // namespace pinhole::agent
