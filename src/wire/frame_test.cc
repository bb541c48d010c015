// SPDX-License-Identifier: Apache-2.0
#include "wire/frame.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "wire/line_reader.h"

namespace pinhole::wire {
namespace {

TEST(Frame, BytesOnTheWire) {
  EXPECT_EQ(encode_frame(FrameType::stdout_data, "hi"), std::string("\x02\0\0\0\x04hi", 7));
  EXPECT_EQ(encode_window(0x01020304), std::string("\x04\0\0\0\x07\x04\x03\x02\x01", 9));
  EXPECT_EQ(encode_signal(15), std::string("\x01\0\0\0\x08\x0f", 6));
  EXPECT_EQ(encode_frame(FrameType::stdin_eof, ""), std::string("\0\0\0\0\x03", 5));
}

TEST(Frame, ReadsFramesHoweverTheyAreCut) {
  const std::vector<Frame> frames = {
      {.type = FrameType::request, .payload = "{}"},
      {.type = FrameType::stdin_eof, .payload = ""},
      {.type = FrameType::stderr_data, .payload = std::string(kFrameBytes, '\0')}};
  std::string stream;
  for (const Frame& frame : frames) stream += encode_frame(frame.type, frame.payload);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{4}, std::size_t{7}, stream.size()}) {
    FrameReader reader;
    std::vector<Frame> seen;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      reader.add(std::string_view(stream).substr(at, piece));
      for (auto frame = reader.next(); frame.value(); frame = reader.next())
        seen.push_back(**frame);
    }
    EXPECT_EQ(seen, frames) << "in pieces of " << piece;
    EXPECT_EQ(reader.pending(), 0U);
  }
}

TEST(Frame, ALengthBeyondTheLimitIsRefusedBeforeItsPayload) {
  FrameReader reader;
  reader.add(std::string_view("\x01\0\x01\0\x04", 5));
  EXPECT_EQ(reader.next().error().message, "a frame of 65537 bytes is longer than 65536");
  FrameReader huge;
  huge.add("\xff\xff\xff\xff\x04");
  EXPECT_EQ(huge.next().error().message, "a frame of 4294967295 bytes is longer than 65536");
  FrameReader longest;
  longest.add(std::string_view("\0\0\x01\0\x04", 5));
  EXPECT_FALSE(longest.next().value().has_value());
}

TEST(Frame, AnUnknownTypeIsRefused) {
  for (const auto& [bytes, text] :
       {std::pair{std::string_view("\0\0\0\0\0", 5), "unknown frame type 0"},
        std::pair{std::string_view("\0\0\0\0\x0b", 5), "unknown frame type 11"}}) {
    FrameReader reader;
    reader.add(bytes);
    EXPECT_EQ(reader.next().error().message, text);
  }
}

TEST(Frame, WindowAndSignalPayloadsAreExact) {
  EXPECT_EQ(decode_window(std::string_view("\0\0\x01\0", 4)).value(), 65536U);
  EXPECT_EQ(decode_window("123").error().message, "a window frame has 3 bytes, not 4");
  EXPECT_EQ(decode_signal("\x09").value(), 9);
  EXPECT_EQ(decode_signal(std::string_view("\0", 1)).error().message, "0 is not a signal");
  EXPECT_EQ(decode_signal("A").error().message, "65 is not a signal");
  EXPECT_EQ(decode_signal("").error().message, "a signal frame has 0 bytes, not 1");
  EXPECT_EQ(decode_resize(std::string_view("\x18\0\x50\0", 4)).value(), WindowSize());
  EXPECT_EQ(encode_resize({.rows = 24, .columns = 80}).substr(kFrameHeaderBytes),
            std::string_view("\x18\0\x50\0", 4));
  EXPECT_EQ(decode_resize(std::string_view("\0\0\x50\0", 4)).error().message,
            "a terminal of 0 rows and 80 columns");
  EXPECT_EQ(decode_resize("12345").error().message, "a resize frame has 5 bytes, not 4");
}

TEST(LineReader, ReadsLinesHoweverTheyAreCut) {
  LineReader reader(5);
  reader.add("ab");
  EXPECT_FALSE(reader.next().value().has_value());
  EXPECT_EQ(reader.pending(), 2U);
  reader.add("c\n\nde");
  EXPECT_EQ(reader.next().value(), "abc");
  EXPECT_EQ(reader.next().value(), "");
  EXPECT_FALSE(reader.next().value().has_value());
  reader.add("fgh\n");
  EXPECT_EQ(reader.next().value(), "defgh");
  EXPECT_EQ(reader.pending(), 0U);
}

TEST(LineReader, ALineBeyondTheLimitIsRefusedEvenWithoutItsEnd) {
  LineReader unfinished(5);
  unfinished.add("abcdef");
  EXPECT_EQ(unfinished.next().error().message, "a line is longer than 5 bytes");
  LineReader second(5);
  second.add("abcde\nabcdef\n");
  EXPECT_EQ(second.next().value(), "abcde");
  EXPECT_EQ(second.next().error().message, "a line is longer than 5 bytes");
}

}  // namespace
}  // namespace pinhole::wire
