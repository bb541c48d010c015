// SPDX-License-Identifier: Apache-2.0
#include "pep/websocket_handshake.h"

#include <gtest/gtest.h>

namespace pinhole::pep {
namespace {

using namespace std::string_literals;

TEST(WebSocketHandshake, AcceptsAsInTheExampleOfTheRfc) {
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(WebSocketGuard, TakesAClientsFramesWhereverTheyAreCut) {
  const std::string frames = "\x01\x83\x01\x02\x03\x04GET"s + "\x89\x80\x01\x02\x03\x04"s +
                             "\x80\xFE\x00\x80\x01\x02\x03\x04"s + std::string(128, 'x') +
                             "\x82\xFF\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04"s +
                             std::string(65'536, 'y') + "\x88\x82\x01\x02\x03\x04\x02\xEA"s;
  for (const std::size_t piece : {std::size_t{1}, std::size_t{5}, frames.size()}) {
    WebSocketGuard guard(false);
    for (std::size_t at = 0; at < frames.size(); at += piece)
      ASSERT_TRUE(guard.look(std::string_view(frames).substr(at, piece)).has_value()) << at;
  }
}

TEST(WebSocketGuard, RefusesWhatNoClientMaySend) {
  for (const std::string& bytes :
       {"GET / HTTP/1.1\r\n"s, "POST /"s, "DELETE /"s, "\x16\x03\x01"s, "\x81\x05"s, "\xC1\x80"s,
        "\x83\x80"s, "\x8B\x80"s, "\x09\x80"s, "\x89\xFE"s,
        "\x82\xFF\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04"s}) {
    const auto seen = WebSocketGuard(false).look(bytes);
    ASSERT_FALSE(seen.has_value()) << ::testing::PrintToString(bytes);
    EXPECT_EQ(seen.error().code, "invalid_request");
  }
  EXPECT_TRUE(WebSocketGuard(true).look("\xC1\x80"s).has_value());
}

}  // namespace
}  // namespace pinhole::pep
