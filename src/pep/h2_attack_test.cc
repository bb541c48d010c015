// SPDX-License-Identifier: Apache-2.0
// Hostile guests that speak HTTP/2: requests that are refused with their code while the connection
// goes on, and frames that end the connection, each with a twin that is let through. What makes a
// head well-formed is tested closer in http/h2_request_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "pep/h2_harness.h"

namespace pinhole::pep {
namespace {

using std::chrono::milliseconds;
using testing::Fields;
using testing::h2_frame;
using testing::h2_preface;
using testing::h2_request;
using testing::H2Door;
using testing::H2Peer;
using ::testing::HasSubstr;
using testing::Origin;
using testing::Peer;
using testing::Reply;

constexpr std::uint8_t kEndStream = NGHTTP2_FLAG_END_STREAM;
constexpr std::uint8_t kEndHeaders = NGHTTP2_FLAG_END_HEADERS;

/// One of the request's fields changed; without it where `value` is null.
Fields with(std::string_view name, const char* value) {
  Fields fields = h2_request("GET", "/");
  std::erase_if(fields, [&](http::Header& field) {
    if (field.name == name && value != nullptr) field.value = value;
    return field.name == name && value == nullptr;
  });
  return fields;
}

Fields plus(const Fields& more) { return h2_request("GET", "/", more); }

TEST(H2Attack, HeadsWithTwoMeaningsAreRefusedAloneWithTheirCode) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  struct Row {
    Fields fields;
    int status;
    std::string code;  // empty: it is let through
  };
  const std::vector<Row> rows = {
      {with("", nullptr), 200, ""},
      // Pseudo-headers.
      {with(":method", nullptr), 400, "invalid_request"},
      {with(":scheme", nullptr), 400, "invalid_request"},
      {with(":path", nullptr), 400, "invalid_request"},
      {with(":authority", nullptr), 400, "invalid_request"},
      {plus({{":path", "/"}}), 400, "invalid_request"},
      {plus({{":method", "GET"}}), 400, "invalid_request"},
      {plus({{":protocol", "websocket"}}), 400, "invalid_request"},
      {plus({{":status", "200"}}), 400, "invalid_request"},
      {plus({{"x", "y"}, {":path", "/"}}), 400, "invalid_request"},
      {with(":scheme", "ftp"), 400, "invalid_url"},
      {with(":path", ""), 400, "invalid_url"},
      {with(":path", "*"), 400, "invalid_url"},
      {with(":path", "http://other.test/"), 400, "invalid_url"},
      {with(":path", "/\r\nHost: other.test"), 400, "invalid_request"},
      {with(":path", "/a/../b"), 400, "invalid_url"},
      {with(":path", "/a/%2e%2E/b"), 400, "invalid_url"},
      {with(":path", "/a%2fb"), 200, ""},
      {with(":authority", "u:p@origin.test"), 400, "invalid_url"},
      {with(":authority", "origin.test:0"), 400, "invalid_url"},
      {with(":authority", "0x7f.1"), 400, "invalid_url"},
      {with(":authority", "ORIGIN.test.:80"), 200, ""},
      {with(":method", "get"), 400, "invalid_method"},
      {with(":method", "G T"), 400, "invalid_method"},
      {with(":method", "CONNECT"), 501, "invalid_request"},
      // What would mean something else to HTTP/1.
      {plus({{"host", "other.test"}}), 400, "invalid_request"},
      {plus({{"host", "origin.test"}}), 200, ""},
      {plus({{"connection", "close"}}), 400, "invalid_request"},
      {plus({{"keep-alive", "timeout=5"}}), 400, "invalid_request"},
      {plus({{"proxy-connection", "keep-alive"}}), 400, "invalid_request"},
      {plus({{"transfer-encoding", "chunked"}}), 400, "invalid_request"},
      {plus({{"upgrade", "h2c"}}), 400, "invalid_request"},
      {plus({{"te", "gzip"}}), 400, "invalid_request"},
      {plus({{"te", "trailers"}}), 200, ""},
      {plus({{"content-length", "5"}}), 400, "invalid_request"},
      {plus({{"content-length", "0"}}), 200, ""},
      {plus({{"x y", "z"}}), 400, "invalid_request"},
      {plus({{"x", "a\r\nEvil: 1"}}), 400, "invalid_request"},
      {plus({{"x", std::string("a\0b", 3)}}), 400, "invalid_request"},
      {plus({{"content_length", "5"}}), 400, "invalid_request"},
      {plus({{"x", "y"}}), 200, ""},
  };
  for (const auto& [fields, status, code] : rows) {
    std::string shown;
    for (const auto& [name, value] : fields) shown.append(name).append("=").append(value) += ' ';
    const Reply reply = peer.ask(fields);
    EXPECT_EQ(reply.status, status) << shown;
    if (!code.empty()) {
      EXPECT_THAT(reply.body, HasSubstr(fmt::format(R"("code":"{}")", code))) << shown;
      EXPECT_THAT(reply.header("proxy-status"), HasSubstr("; code=" + code + ";")) << shown;
    }
  }
  EXPECT_FALSE(peer.goaway);
  const std::string audit = door.audit_text();
  for (const std::string_view code : {"invalid_request", "invalid_url", "invalid_method"})
    EXPECT_THAT(audit, HasSubstr(fmt::format(R"("status":400,"code":"{}")", code)));
}

/// A head's fields by HPACK, each literal and without the table (RFC 7541 §6.2.2).
std::string literals(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    EXPECT_TRUE(name.size() < 127 && value.size() < 127);
    out += '\0';
    out.append(1, static_cast<char>(name.size())).append(name);
    out.append(1, static_cast<char>(value.size())).append(value);
  }
  return out;
}

struct Frames {
  std::string name;
  std::string bytes;
  bool fatal = true;
};

std::vector<Frames> frames_to_judge() {
  const std::string head = literals(h2_request("GET", "/"));
  const auto headers = [&](std::uint8_t flags, std::uint32_t id, std::string_view block) {
    return h2_frame(NGHTTP2_HEADERS, flags, id, block);
  };
  const std::string whole = headers(kEndStream | kEndHeaders, 1, head);
  const auto more = [&](std::uint8_t flags, std::string_view block) {
    return h2_frame(NGHTTP2_CONTINUATION, flags, 1, block);
  };
  const std::string window("\0\0\0\1", 4);
  std::string pieces = headers(kEndStream, 1, head.substr(0, 5));
  for (int i = 0; i < 6; ++i) pieces += more(0, "");
  std::string endless = headers(kEndStream, 1, head.substr(0, 5));
  for (int i = 0; i < 1000; ++i) endless += more(0, "");
  std::string settings;
  for (int i = 0; i < 20'000; ++i) settings += h2_frame(NGHTTP2_SETTINGS, 0, 0, "");
  std::string few_settings;
  for (int i = 0; i < 100; ++i) few_settings += h2_frame(NGHTTP2_SETTINGS, 0, 0, "");
  std::string priorities;
  for (int i = 0; i < 20'000; ++i)
    priorities += h2_frame(NGHTTP2_PRIORITY, 0, 3, std::string("\0\0\0\0\1", 5));
  std::string empty_data = headers(kEndHeaders, 1, literals(h2_request("POST", "/")));
  const std::string few_data = empty_data + h2_frame(NGHTTP2_DATA, kEndStream, 1, "");
  for (int i = 0; i < 20'000; ++i) empty_data += h2_frame(NGHTTP2_DATA, 0, 1, "");
  std::string many_settings;
  for (int i = 0; i < 33; ++i) many_settings += std::string("\0\x4\0\1\0\0", 6);
  return {
      {"a head", whole, false},
      {"a head in pieces", pieces + more(kEndHeaders, head.substr(5)), false},
      {"a head in pieces without end", endless},
      {"a frame of another stream within a head",
       headers(kEndStream, 1, head.substr(0, 5)) + h2_frame(NGHTTP2_PING, 0, 0, "12345678")},
      {"a head on stream 0", headers(kEndStream | kEndHeaders, 0, head)},
      {"a head on the server's stream", headers(kEndStream | kEndHeaders, 2, head)},
      {"data on stream 0", h2_frame(NGHTTP2_DATA, 0, 0, "x")},
      {"data without a head", h2_frame(NGHTTP2_DATA, 0, 1, "x")},
      {"a continuation of nothing", more(kEndHeaders, "")},
      {"an index that the table does not have", headers(kEndStream | kEndHeaders, 1, "\xff\xff")},
      {"padding over the frame's end",
       h2_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_PADDED | kEndHeaders, 1, "\xff\x82")},
      {"a frame over the largest", h2_frame(NGHTTP2_DATA, 0, 1, std::string(16385, 'x'))},
      {"a window by nothing", whole + h2_frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string(4, '\0'))},
      {"a window by one", whole + h2_frame(NGHTTP2_WINDOW_UPDATE, 0, 0, window), false},
      {"a window over the largest", h2_frame(NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff")},
      {"settings of an odd length", h2_frame(NGHTTP2_SETTINGS, 0, 0, "12345")},
      {"a ping of an odd length", h2_frame(NGHTTP2_PING, 0, 0, "1234567")},
      {"a promise", h2_frame(NGHTTP2_PUSH_PROMISE, kEndHeaders, 1, window + head)},
      {"a frame of no known kind", h2_frame(0xEE, 0xFF, 1, "xyz") + whole, false},
      {"settings without end", settings},
      {"some settings", few_settings + whole, false},
      {"more settings at once than there are", h2_frame(NGHTTP2_SETTINGS, 0, 0, many_settings)},
      {"priorities without end", priorities},
      {"empty data without end", empty_data},
      {"empty data", few_data, false},
  };
}

TEST(H2Attack, FramesThatBreakTheConnectionEndItAndAreWrittenDown) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  for (const Frames& frames : frames_to_judge()) {
    H2Door door(testing::policy_for(origin.port(), "origin.test"));
    Peer peer = door.peer();
    peer.send(h2_preface());
    std::jthread sender([&] { peer.send(frames.bytes); });
    if (frames.fatal) {
      const std::string all = peer.read_all();
      sender.join();
      door.join();
      EXPECT_THAT(all, HasSubstr(std::string("\x07\0\0\0\0\0", 6))) << frames.name << ": GOAWAY";
      EXPECT_THAT(door.audit_text(), HasSubstr(R"("status":400,"code":"invalid_request")"))
          << frames.name;
    } else {
      // The answer's only DATA: "x" on stream 1, or an empty one that ends it.
      EXPECT_NE(peer.read_until(std::string("\0\0\0\1x", 5)), "") << frames.name;
      sender.join();
      EXPECT_THAT(door.audit_text(), ::testing::Not(HasSubstr("invalid_request"))) << frames.name;
    }
  }
}

TEST(H2Attack, FieldsThatGrowByTheTableAreRefusedAndNotKept) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  // nghttp2's encoder uses the table: 15 KB on the wire, 58 MB when decoded.
  const Fields field = {{"x", std::string(3900, 'a')}};
  EXPECT_EQ(peer.ask(plus(field)).status, 200);
  peer.pump([&] { return true; });
  const std::string bomb = literals(h2_request("GET", "/")) + std::string(15'000, '\xBE');
  const std::int32_t id = 3;
  peer.below().send(h2_frame(NGHTTP2_HEADERS, kEndStream | kEndHeaders, id, bomb));
  const std::string answer = peer.below().read_until("constraint_violation");
  EXPECT_NE(answer, "") << "a 431 for this stream";
  EXPECT_THAT(door.audit_text(), HasSubstr(R"("status":431,"code":"constraint_violation")"));
}

TEST(H2Attack, StreamsOverTheLimitAreRefusedAndTheOthersServed) {
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  Origin origin([&](Peer& peer) {
    while (!peer.read_until("\r\n\r\n").empty()) {
      gone.wait();
      peer.send(testing::ok("x"));
    }
  });
  H2Door door(testing::policy_for(origin.port(), "origin.test", "limits: {connections: 300}\n"));
  Peer peer = door.peer();
  std::string bytes = h2_preface();
  for (std::uint32_t i = 0; i < 150; ++i) {
    bytes += h2_frame(NGHTTP2_HEADERS, kEndStream | kEndHeaders, 2 * i + 1,
                      literals(h2_request("GET", "/")));
  }
  peer.send(bytes);
  // RST_STREAM with REFUSED_STREAM.
  EXPECT_NE(peer.read_until(std::string("\0\0\0\x7", 4)), "");
  go.set_value();
  EXPECT_NE(peer.read_until(std::string("\0\0\0\xC7x", 5)), "") << "stream 199, the hundredth";
}

TEST(H2Attack, ResetFloodEndsTheConnectionAndIsWrittenDown) {
  Origin origin([](Peer& peer) { peer.read_all(); });
  H2Door door(testing::policy_for(origin.port(), "GET http://origin.test/none"));
  H2Peer peer(door.peer());
  for (int i = 0; i < 300 && !peer.goaway; ++i) {
    const std::int32_t id = peer.submit(h2_request("GET", "/"));
    if (!peer.send_pending()) break;
    nghttp2_submit_rst_stream(peer.wire(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    if (!peer.send_pending()) break;
  }
  peer.read_to_end();
  EXPECT_EQ(peer.goaway, static_cast<std::uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
  door.join();
  EXPECT_THAT(door.audit_text(), HasSubstr(R"("code":"invalid_request")"));
}

TEST(H2Attack, SomeResetsAreFine) {
  Origin origin(testing::answer_each([](const std::string&) { return testing::ok("x"); }));
  H2Door door(testing::policy_for(origin.port(), "origin.test"));
  H2Peer peer(door.peer());
  for (int i = 0; i < 50; ++i) {
    const std::int32_t id = peer.submit(h2_request("GET", "/"));
    peer.send_pending();
    nghttp2_submit_rst_stream(peer.wire(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  }
  EXPECT_EQ(peer.ask(h2_request("GET", "/")).status, 200);
  EXPECT_FALSE(peer.goaway);
}

TEST(H2Attack, PingFloodEndsTheConnection) {
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

TEST(H2Attack, UnfinishedHeadEndsTheConnection) {
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
