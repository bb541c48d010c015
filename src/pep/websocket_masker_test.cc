// SPDX-License-Identifier: Apache-2.0
#include "pep/websocket_masker.h"

#include <gtest/gtest.h>

#include <vector>

namespace pinhole::pep {
namespace {

constexpr std::string_view kValue = "sk-live-0123456789abcdef";
constexpr std::string_view kPlaceholder = "PINHOLE_x";

std::shared_ptr<const secret::MaskTable> masks() {
  const std::vector<secret::MaskTable::Entry> entries = {
      {.value = kValue, .placeholder = kPlaceholder}};
  return std::make_shared<secret::MaskTable>(entries);
}

std::string frame(int first, std::string_view payload) {
  std::string out(1, static_cast<char>(first));
  if (payload.size() < 126) {
    out += static_cast<char>(payload.size());
  } else if (payload.size() < 65'536) {
    out += '\x7E';
    out += static_cast<char>(payload.size() >> 8);
    out += static_cast<char>(payload.size());
  } else {
    out += '\x7F';
    for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(payload.size() >> shift);
  }
  return out.append(payload);
}

/// What a client makes of frames: messages and control frames, in order; "?" for what is no frame.
std::vector<std::string> read(std::string_view bytes) {
  std::vector<std::string> seen;
  std::string message;
  while (bytes.size() >= 2) {
    const int first = static_cast<unsigned char>(bytes[0]);
    std::size_t size = static_cast<unsigned char>(bytes[1]);
    std::size_t head = 2;
    const std::size_t more = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (more > 0) size = 0;
    for (std::size_t i = 0; i < more; ++i)
      size = size << 8 | static_cast<unsigned char>(bytes[head++]);
    if (bytes.size() < head + size) break;
    const std::string_view payload = bytes.substr(head, size);
    bytes.remove_prefix(head + size);
    if ((first & 0x0F) >= 8) {
      seen.push_back(std::to_string(first & 0x0F) + ":" + std::string(payload));
      continue;
    }
    if ((first & 0x0F) != 0) message = std::to_string(first & 0x0F) + ":";
    message += payload;
    if ((first & 0x80) != 0) seen.push_back(std::exchange(message, ""));
  }
  if (!bytes.empty()) seen.push_back("?");
  return seen;
}

std::vector<std::string> through(std::string_view bytes, std::size_t piece) {
  WebSocketMasker masker(masks());
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    EXPECT_TRUE(masker.feed(bytes.substr(at, piece), out).has_value());
  return read(out);
}

TEST(WebSocketMasker, ReplacesValuesWhereverTheBytesAreCut) {
  const std::string value(kValue);
  const std::string large = std::string(70'000, 'a') + value + std::string(70'000, 'b');
  const std::string bytes = frame(0x81, "no secret") + frame(0x81, "a " + value + " b") +
                            frame(0x02, "first " + value.substr(0, 9)) +
                            frame(0x89, "ping " + value) + frame(0x00, value.substr(9, 3)) +
                            frame(0x80, value.substr(12) + " last") + frame(0x82, "") +
                            frame(0x82, large) + frame(0x88, "\x03\xE8why " + value);
  const std::string mask(kPlaceholder);
  const std::vector<std::string> expected = {
      "1:no secret",
      "1:a " + mask + " b",
      "9:ping " + mask,
      "2:first " + mask + " last",
      "2:",
      "2:" + std::string(70'000, 'a') + mask + std::string(70'000, 'b'),
      "8:\x03\xE8why " + mask};
  for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{7},
                                  std::size_t{1000}, bytes.size()}) {
    EXPECT_EQ(through(bytes, piece), expected) << piece;
  }
}

TEST(WebSocketMasker, WhatIsHereDoesNotWaitForTheRestOfItsFrame) {
  WebSocketMasker masker(masks());
  std::string out;
  const std::string whole = frame(0x81, "hello, world");
  ASSERT_TRUE(masker.feed(std::string_view(whole).substr(0, 9), out).has_value());
  EXPECT_EQ(out, frame(0x01, "hello, "));
  ASSERT_TRUE(masker.feed(std::string_view(whole).substr(9), out).has_value());
  EXPECT_EQ(out, frame(0x01, "hello, ") + frame(0x80, "world"));
}

TEST(WebSocketMasker, RefusesWhatNoServerMaySend) {
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"\xC1\x00"s, "\x91\x00"s, "\x81\x80"s, "\x83\x00"s, "\x8B\x00"s, "\x80\x00"s, "\x09\x00"s,
        "\x89\x7E\x00\x7E"s, "\x01\x00\x01\x00"s, "\x82\x7F\x80\x00\x00\x00\x00\x00\x00\x00"s}) {
    WebSocketMasker masker(masks());
    std::string out;
    const auto done = masker.feed(bytes, out);
    ASSERT_FALSE(done.has_value()) << ::testing::PrintToString(bytes);
    EXPECT_EQ(done.error().code, "upstream_error");
  }
}

}  // namespace
}  // namespace pinhole::pep
