// SPDX-License-Identifier: Apache-2.0
// The proxy towards guests that speak HTTP/2, asked by nghttp2's own client over a real socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <thread>

#include "pep/h2_session.h"
#include "pep/harness.h"
#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Origin;
using testing::Peer;
using Fields = std::vector<http::Header>;

policy::Policy compile(const std::string& text) {
  std::vector<policy::Layer> layers;
  layers.push_back(
      {.kind = policy::LayerKind::user, .document = yaml::parse(text, "policy.yaml").value()});
  return policy::Policy::compile(std::move(layers), {}).value();
}

/// An H2Session over one end of a socket pair, in a thread.
class H2Door {
 public:
  explicit H2Door(const std::string& policy, Times times = {}, std::optional<Inside> inside = {},
                  std::string_view token = {}) {
    policy::Policy rules = compile(policy);
    AuditLog log = AuditLog::open(folder_.path() / "audit.jsonl",
                                  {.vm = "t", .boot = "b", .image = "", .policy = rules.hash()})
                       .value();
    door_ = std::make_unique<Door>(context_, std::move(rules), std::move(log), times);
    if (!token.empty()) door_->token = ProxyToken::make(token).value();
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    peer_ = Fd(ends[1]);
    guest_ = std::make_unique<Connection>(
        Connection::Socket(context_, asio::generic::stream_protocol(AF_UNIX, 0), ends[0]));
    session_ = std::make_unique<H2Session>(*door_, *guest_, std::move(inside));
    asio::co_spawn(context_, session_->run(), [this](const std::exception_ptr& thrown) {
      EXPECT_EQ(thrown, nullptr);
      ended_ = true;
      context_.stop();
    });
    thread_ = std::thread([this] { context_.run(); });
  }
  ~H2Door() { stop(); }
  H2Door(const H2Door&) = delete;
  H2Door& operator=(const H2Door&) = delete;

  Fd peer() { return std::move(peer_); }
  void in_thread(std::function<void(H2Session&)> step) {
    asio::post(context_, [this, step = std::move(step)] { step(*session_); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    in_thread([](H2Session& session) { session.close(); });
    thread_.join();
  }
  /// Waits until the session has ended by itself.
  void join() { thread_.join(); }
  [[nodiscard]] bool ended() const { return ended_; }
  std::string audit_text() {
    stop();
    return sys::read_file(folder_.path() / "audit.jsonl", std::uint64_t{16} << 20).value();
  }

 private:
  sys::TempDir folder_ = sys::TempDir::make().value();
  asio::io_context context_{1};
  std::unique_ptr<Door> door_;
  std::unique_ptr<Connection> guest_;
  std::unique_ptr<H2Session> session_;
  Fd peer_;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

struct Reply {
  int status = 0;
  Fields headers;
  Fields trailers;
  std::string body;
  bool closed = false;
  std::uint32_t error = 0;
  [[nodiscard]] std::string header(std::string_view name) const {
    const std::string* value = http::find_header(headers, name);
    return value == nullptr ? "" : *value;
  }
};

/// nghttp2's client, blocking.
class H2Peer {
 public:
  explicit H2Peer(Fd socket) : socket_(std::move(socket)) {
    const timeval patience{.tv_sec = Peer::kPatience.count(), .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    nghttp2_session_callbacks* calls = nullptr;
    nghttp2_session_callbacks_new(&calls);
    nghttp2_session_callbacks_set_on_header_callback(calls, &on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, &on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, &on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, &on_frame);
    nghttp2_option* options = nullptr;
    nghttp2_option_new(&options);
    nghttp2_option_set_max_send_header_block_length(options, std::size_t{1} << 20);
    nghttp2_session_client_new2(&wire_, calls, this, options);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(calls);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(wire_, NGHTTP2_FLAG_NONE, settings, 1);
  }
  ~H2Peer() { nghttp2_session_del(wire_); }
  H2Peer(const H2Peer&) = delete;
  H2Peer& operator=(const H2Peer&) = delete;

  std::int32_t submit(const Fields& fields, const std::string* body = nullptr) {
    std::vector<nghttp2_nv> nv;
    for (const auto& [name, value] : fields) {
      nv.push_back({.name = bytes(name),
                    .value = bytes(value),
                    .namelen = name.size(),
                    .valuelen = value.size(),
                    .flags = NGHTTP2_NV_FLAG_NONE});
    }
    uploads_.emplace_back(body != nullptr ? *body : "", 0);
    nghttp2_data_provider provider{.source = {.ptr = &uploads_.back()}, .read_callback = &on_read};
    return nghttp2_submit_request(wire_, nullptr, nv.data(), nv.size(),
                                  body != nullptr ? &provider : nullptr, nullptr);
  }
  /// Sends, and reads until `done`; false when the connection ended before.
  bool pump(const std::function<bool()>& done) {
    while (true) {
      if (!send_pending()) return done();
      if (done()) return true;
      char piece[64 * 1024];
      const ssize_t count = ::recv(socket_.get(), piece, sizeof piece, 0);
      if (count <= 0) return done();
      const auto* const first = reinterpret_cast<const std::uint8_t*>(piece);
      if (nghttp2_session_mem_recv(wire_, first, static_cast<std::size_t>(count)) < 0)
        return done();
    }
  }
  bool send_pending() {
    while (true) {
      const std::uint8_t* out = nullptr;
      const ssize_t count = nghttp2_session_mem_send(wire_, &out);
      if (count <= 0) return count == 0;
      for (ssize_t sent = 0; sent < count;) {
        const ssize_t part =
            ::send(socket_.get(), out + sent, static_cast<std::size_t>(count - sent), MSG_NOSIGNAL);
        if (part <= 0) return false;
        sent += part;
      }
    }
  }
  Reply ask(const Fields& fields, const std::string* body = nullptr) {
    const std::int32_t id = submit(fields, body);
    pump([&] { return replies[id].closed; });
    return replies[id];
  }
  nghttp2_session* wire() { return wire_; }
  /// Until the other side ends the connection.
  void read_to_end() {
    pump([] { return false; });
  }

  std::map<std::int32_t, Reply> replies;
  std::optional<std::uint32_t> goaway;

 private:
  struct Upload {
    std::string body;
    std::size_t sent = 0;
  };
  static std::uint8_t* bytes(const std::string& text) {
    return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
  }
  static H2Peer& of(void* peer) { return *static_cast<H2Peer*>(peer); }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* peer) {
    Reply& reply = of(peer).replies[frame->hd.stream_id];
    http::Header field{.name = {reinterpret_cast<const char*>(name), name_size},
                       .value = {reinterpret_cast<const char*>(value), value_size}};
    if (field.name == ":status") {
      reply.status = std::stoi(field.value);
    } else if (frame->headers.cat == NGHTTP2_HCAT_HEADERS && !reply.body.empty()) {
      reply.trailers.push_back(std::move(field));
    } else {
      reply.headers.push_back(std::move(field));
    }
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* peer) {
    of(peer).replies[id].body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* peer) {
    of(peer).replies[id].closed = true;
    of(peer).replies[id].error = error;
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* peer) {
    if (frame->hd.type == NGHTTP2_GOAWAY) of(peer).goaway = frame->goaway.error_code;
    return 0;
  }
  static ssize_t on_read(nghttp2_session*, std::int32_t, std::uint8_t* room, std::size_t size,
                         std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* upload = static_cast<Upload*>(source->ptr);
    const std::size_t count = std::min(size, upload->body.size() - upload->sent);
    upload->body.copy(reinterpret_cast<char*>(room), count, upload->sent);
    upload->sent += count;
    if (upload->sent == upload->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }

  Fd socket_;
  nghttp2_session* wire_ = nullptr;
  std::list<Upload> uploads_;
};

Fields request(std::string_view method, std::string_view path, const Fields& more = {}) {
  Fields fields{{":method", std::string(method)},
                {":scheme", "http"},
                {":authority", "origin.test"},
                {":path", std::string(path)}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

TEST(H2, AllowedRequestIsCarriedOut) {
  std::string seen;
  Origin origin(testing::answer_each([&](const std::string& head) {
    seen = head;
    return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: origin\r\nConnection: "
           "keep-alive\r\n\r\nhello";
  }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply reply = peer.ask(request("GET", "/a%7Eb?q=1", {{"x-mine", "1"}}));
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
  EXPECT_EQ(peer.ask(request("GET", "/", {})).status, 407);
  EXPECT_EQ(peer.ask(request("GET", "/", token)).status, 200);
  EXPECT_EQ(peer.ask(request("GET", "/", {})).status, 407);
}

TEST(H2, DeniedRequestIsExplainedAsInHttp1) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "GET http://origin.test/open/**"));
  H2Peer peer(door.peer());
  const std::string body = "some";
  const Reply reply = peer.ask(request("POST", "/open/x"), &body);
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(reply.header("content-type"), "application/problem+json");
  EXPECT_THAT(reply.header("proxy-status"),
              HasSubstr("pinhole; error=http_request_denied; code=denied_by_policy"));
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"denied_by_policy")"));
  EXPECT_EQ(peer.ask(request("GET", "/open/x")).status, 200) << "the connection goes on";
  EXPECT_EQ(origin.connections(), 1);
}

TEST(H2, BrokenRequestIsRefusedAloneWithItsCode) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const Reply reply = peer.ask(request("GET", "/", {{"host", "other.test"}}));
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"invalid_request")"));
  EXPECT_EQ(peer.ask(request("GET", "/", {{"host", "origin.test"}})).status, 200);
  EXPECT_EQ(peer.ask({{":method", "CONNECT"}, {":authority", "origin.test:443"}}).status, 501);
}

TEST(H2, HeadersOverTheLimitAreRefusedAlone) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  Fields many;
  for (int i = 0; i < 40; ++i) many.push_back({"x-long", std::string(2000, 'a')});
  const Reply reply = peer.ask(request("GET", "/", many));
  EXPECT_EQ(reply.status, 431);
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"constraint_violation")"));
  many.resize(20);
  EXPECT_EQ(peer.ask(request("GET", "/", many)).status, 200);
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
      peer.ask(request("POST", "/up", {{"content-length", std::to_string(big.size())}}), &big);
  EXPECT_EQ(up.status, 200);
  EXPECT_EQ(up.body, "got it");
  EXPECT_EQ(received, big);
  const Reply down = peer.ask(request("GET", "/down"));
  EXPECT_EQ(down.body, big);
  EXPECT_EQ(down.header("content-length"), std::to_string(big.size()));
}

TEST(H2, BodyThatIsNotAsLongAsItSaysIsRefused) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  const std::string body = "four";
  const Reply reply = peer.ask(request("POST", "/", {{"content-length", "5"}}), &body);
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
  const Reply reply = peer.ask(request("GET", "/"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.error, static_cast<std::uint32_t>(NGHTTP2_INTERNAL_ERROR));
}

TEST(H2, StreamsRunAtTheSameTime) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(peer.submit(request("GET", "/")));
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
  const Reply reply = peer.ask(request("HEAD", "/"));
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
  EXPECT_EQ(peer.ask(request("GET", "/", {{"te", "trailers"}})).trailers, (Fields{{"x-sum", "7"}}));
  const Reply without = peer.ask(request("GET", "/"));
  EXPECT_EQ(without.trailers, Fields{});
  EXPECT_EQ(without.body, "hi");
}

TEST(H2, ResetFloodEndsTheConnectionAndIsWrittenDown) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  H2Door door(testing::policy_for(origin.port(), "GET http://origin.test/none"));
  H2Peer peer(door.peer());
  for (int i = 0; i < 300 && !peer.goaway; ++i) {
    const std::int32_t id = peer.submit(request("GET", "/"));
    if (!peer.send_pending()) break;
    nghttp2_submit_rst_stream(peer.wire(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    if (!peer.send_pending()) break;
  }
  peer.read_to_end();
  EXPECT_EQ(peer.goaway, static_cast<std::uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
  door.join();
  EXPECT_THAT(door.audit_text(), HasSubstr(R"("code":"invalid_request")"));
}

TEST(H2, SomeResetsAreFine) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  for (int i = 0; i < 50; ++i) {
    const std::int32_t id = peer.submit(request("GET", "/"));
    peer.send_pending();
    nghttp2_submit_rst_stream(peer.wire(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  }
  EXPECT_EQ(peer.ask(request("GET", "/")).status, 200);
  EXPECT_FALSE(peer.goaway);
}

TEST(H2, PingFloodEndsTheConnection) {
  H2Door door(testing::policy_for(1, "origin.test"));
  H2Peer peer(door.peer());
  for (int i = 0; i < 2000; ++i) {
    nghttp2_submit_ping(peer.wire(), NGHTTP2_FLAG_NONE, nullptr);
    if (!peer.send_pending()) break;
  }
  peer.read_to_end();
  door.join();
  EXPECT_THAT(door.audit_text(), HasSubstr(R"("code":"invalid_request")"));
}

TEST(H2, FinishSoonLetsTheRunningStreamEnd) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  EXPECT_EQ(peer.ask(request("GET", "/")).status, 200);
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
  EXPECT_EQ(peer.ask(request("GET", "/")).status, 200);
  Fields other = request("GET", "/");
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
  const std::int32_t id = peer.submit(request("GET", "/"));
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
  const std::int32_t id = peer.submit(request("GET", "/"));
  EXPECT_TRUE(peer.pump([&] { return peer.replies[id].status == 200; }));
  door.in_thread([](H2Session& session) {
    session.check_deadline(std::chrono::steady_clock::now() + std::chrono::hours(1));
  });
  // The stream, or with a write under way the whole connection; never a normal end.
  peer.pump([&] { return peer.replies[id].closed; });
  while (!cut) std::this_thread::yield();
  EXPECT_FALSE(peer.replies[id].closed && peer.replies[id].error == NGHTTP2_NO_ERROR);
}

TEST(H2, UnfinishedHeadEndsTheConnection) {
  H2Door door(testing::policy_for(1, "origin.test"), {.request_head = milliseconds(1)});
  Peer peer(door.peer());
  using namespace std::string_literals;
  peer.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x4\0\0\0\0\0"s);
  // HEADERS without END_HEADERS, and nothing after it.
  peer.send("\0\0\x1\x1\x1\0\0\0\x1\x82"s);
  while (!door.ended()) {
    door.in_thread([](H2Session& session) {
      session.check_deadline(std::chrono::steady_clock::now() + std::chrono::seconds(1));
    });
    std::this_thread::yield();
  }
  peer.read_all();
  door.join();
}

}  // namespace
}  // namespace pinhole::pep
