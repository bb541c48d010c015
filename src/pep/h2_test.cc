// SPDX-License-Identifier: Apache-2.0
// The proxy towards guests that speak HTTP/2, asked by nghttp2's own client over a real socket. What
// a hostile guest does to it is in h2_attack_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "pep/h2_harness.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using testing::Fields;
using testing::h2_request;
using testing::H2Door;
using testing::H2Peer;
using ::testing::HasSubstr;
using testing::Origin;
using testing::Peer;
using testing::Reply;

TEST(H2, AllowedRequestIsCarriedOut) {
  std::string seen;
  Origin origin(testing::answer_each([&](const std::string& head) {
    seen = head;
    return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: origin\r\nConnection: "
           "keep-alive\r\n\r\nhello";
  }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply reply = peer.ask(h2_request("GET", "/a%7Eb?q=1", {{"x-mine", "1"}}));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers, (Fields{{"x-from", "origin"}, {"content-length", "5"}}));
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.error, 0U);
  EXPECT_EQ(seen, "GET /a~b?q=1 HTTP/1.1\r\nHost: origin.test\r\nx-mine: 1\r\n\r\n");
  EXPECT_THAT(door.audit_text(), HasSubstr(R"("url":"http://origin.test/a~b?q=*")"));
}

TEST(H2, ProxyAsksForItsTokenWithEachRequest) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"), {}, {}, "0123456789abcdef");
  H2Peer peer(door.peer());
  const Fields token{{"proxy-authorization", "Bearer 0123456789abcdef"}};
  EXPECT_EQ(peer.ask(h2_request("GET", "/", {})).status, 407);
  EXPECT_EQ(peer.ask(h2_request("GET", "/", token)).status, 200);
  EXPECT_EQ(peer.ask(h2_request("GET", "/", {})).status, 407);
}

TEST(H2, DeniedRequestIsExplainedAsInHttp1) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "GET http://origin.test/open/**"));
  H2Peer peer(door.peer());
  const std::string body = "some";
  const Reply reply = peer.ask(h2_request("POST", "/open/x"), &body);
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(reply.header("content-type"), "application/problem+json");
  EXPECT_THAT(reply.header("proxy-status"),
              HasSubstr("pinhole; error=http_request_denied; code=denied_by_policy"));
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"denied_by_policy")"));
  EXPECT_EQ(peer.ask(h2_request("GET", "/open/x")).status, 200) << "the connection goes on";
  EXPECT_EQ(origin.connections(), 1);
}

TEST(H2, BrokenRequestIsRefusedAloneWithItsCode) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply reply = peer.ask(h2_request("GET", "/", {{"host", "other.test"}}));
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"invalid_request")"));
  EXPECT_EQ(peer.ask(h2_request("GET", "/", {{"host", "origin.test"}})).status, 200);
  EXPECT_EQ(peer.ask({{":method", "CONNECT"}, {":authority", "origin.test:443"}}).status, 501);
}

TEST(H2, HeadersOverTheLimitAreRefusedAlone) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  Fields many;
  for (int i = 0; i < 40; ++i) many.push_back({"x-long", std::string(2000, 'a')});
  const Reply reply = peer.ask(h2_request("GET", "/", many));
  EXPECT_EQ(reply.status, 431);
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"constraint_violation")"));
  many.resize(20);
  EXPECT_EQ(peer.ask(h2_request("GET", "/", many)).status, 200);
}

TEST(H2, LargeBodiesPassBothWays) {
  const std::string big(std::size_t{1} << 20, 'b');
  std::string received;
  Origin origin([&](Peer& peer) {
    while (true) {
      const std::string head = peer.read_until("\r\n\r\n");
      if (head.empty()) return;
      if (head.starts_with("POST")) received = peer.read_exactly(big.size());
      peer.send(testing::ok(head.starts_with("POST") ? "got it" : big));
    }
  });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply up =
      peer.ask(h2_request("POST", "/up", {{"content-length", std::to_string(big.size())}}), &big);
  EXPECT_EQ(up.status, 200);
  EXPECT_EQ(up.body, "got it");
  EXPECT_EQ(received, big);
  const Reply down = peer.ask(h2_request("GET", "/down"));
  EXPECT_EQ(down.body, big);
  EXPECT_EQ(down.header("content-length"), std::to_string(big.size()));
}

TEST(H2, BodyThatIsNotAsLongAsItSaysIsRefused) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const std::string body = "four";
  const Reply reply = peer.ask(h2_request("POST", "/", {{"content-length", "5"}}), &body);
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr("the request's body has 4 bytes, its Content-Length says 5"));
}

TEST(H2, TruncatedAnswerIsNotWhole) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply reply = peer.ask(h2_request("GET", "/"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.error, static_cast<std::uint32_t>(NGHTTP2_INTERNAL_ERROR));
}

TEST(H2, StreamsRunAtTheSameTime) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(peer.submit(h2_request("GET", "/")));
  EXPECT_TRUE(peer.pump([&] {
    return std::ranges::all_of(ids, [&](std::int32_t id) { return peer.replies[id].closed; });
  }));
  for (const std::int32_t id : ids) EXPECT_EQ(peer.replies[id].status, 200);
}

TEST(H2, HeadHasNoBody) {
  Origin origin([](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply reply = peer.ask(h2_request("HEAD", "/"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.header("content-length"), "10");
  EXPECT_EQ(reply.body, "");
  EXPECT_EQ(reply.error, 0U);
}

TEST(H2, TrailersArePassedToWhoAsks) {
  Origin origin(testing::answer_each([](const std::string&) {
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
  }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  EXPECT_EQ(peer.ask(h2_request("GET", "/", {{"te", "trailers"}})).trailers,
            (Fields{{"x-sum", "7"}}));
  const Reply without = peer.ask(h2_request("GET", "/"));
  EXPECT_EQ(without.trailers, Fields{});
  EXPECT_EQ(without.body, "hi");
}

TEST(H2, FinishSoonLetsTheRunningStreamEnd) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  EXPECT_EQ(peer.ask(h2_request("GET", "/")).status, 200);
  door.in_thread([](H2Session& session) { session.finish_soon(); });
  peer.read_to_end();
  EXPECT_EQ(peer.goaway, static_cast<std::uint32_t>(NGHTTP2_NO_ERROR));
  door.join();
}

TEST(H2, InsideATunnelOnlyItsOriginIsServed) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  const Inside inside{.scheme = http::Scheme::http,
                      .host = http::normalise_host("origin.test").value(),
                      .port = 80};
  H2Door door(testing::policy_for(origin.port(), "origin.test"), {}, inside);
  H2Peer peer(door.peer());
  EXPECT_EQ(peer.ask(h2_request("GET", "/")).status, 200);
  Fields other = h2_request("GET", "/");
  other[2].value = "other.test";
  const Reply reply = peer.ask(other);
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr(":authority says"));
}

TEST(H2, StreamThatTheGuestResetsEndsAtTheOriginToo) {
  std::atomic<bool> left = false;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    left = peer.read_all().empty();
  });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const std::int32_t id = peer.submit(h2_request("GET", "/"));
  EXPECT_TRUE(peer.pump([&] { return peer.replies[id].body == "half"; }));
  nghttp2_submit_rst_stream(peer.wire(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  peer.send_pending();
  while (!left) std::this_thread::yield();
  EXPECT_THAT(door.audit_text(), HasSubstr("the guest left"));
}

TEST(H2, GuestThatTakesNothingHoldsTheOriginBackAndIsCutInTheEnd) {
  std::atomic<bool> cut = false;
  Origin origin([&](Peer& peer) {
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\n\r\n");
    while (peer.send(std::string(64 << 10, 'x'))) {
    }
    cut = true;
  });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  nghttp2_session_set_local_window_size(peer.wire(), NGHTTP2_FLAG_NONE, 0, 1000);
  const std::int32_t id = peer.submit(h2_request("GET", "/"));
  EXPECT_TRUE(peer.pump([&] { return peer.replies[id].status == 200; }));
  door.in_thread([](H2Session& session) {
    session.check_deadline(std::chrono::steady_clock::now() + std::chrono::hours(1));
  });
  // The stream, or with a write under way the whole connection; never a normal end.
  peer.pump([&] { return peer.replies[id].closed; });
  while (!cut) std::this_thread::yield();
  EXPECT_FALSE(peer.replies[id].closed && peer.replies[id].error == NGHTTP2_NO_ERROR);
}

}  // namespace
}  // namespace pinhole::pep
