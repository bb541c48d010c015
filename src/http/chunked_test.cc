// SPDX-License-Identifier: Apache-2.0
#include "http/chunked.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

/// The body and how it ended, from input that arrives in pieces of `piece` bytes.
std::string decode(std::string_view input, std::size_t piece) {
  ChunkedDecoder decoder;
  std::string body;
  while (!input.empty()) {
    std::string_view part = input.substr(0, piece);
    while (!part.empty()) {
      const auto step = decoder.next(part);
      if (!step) return body + "|" + std::string(step.error().code) + ": " + step.error().detail;
      body += step->data;
      part.remove_prefix(step->consumed);
      input.remove_prefix(step->consumed);
      if (step->done) return body + "|done, rest " + std::string(input);
    }
  }
  return body + "|more";
}

std::string decode(std::string_view input) {
  const std::string whole = decode(input, input.size() + 1);
  for (std::size_t piece = 1; piece < 8; ++piece) EXPECT_EQ(decode(input, piece), whole) << piece;
  return whole;
}

TEST(Chunked, DecodesHoweverItArrives) {
  EXPECT_EQ(decode("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nNEXT"), "hello world|done, rest NEXT");
  EXPECT_EQ(decode("0\r\n\r\n"), "|done, rest ");
  EXPECT_EQ(decode("A\r\n0123456789\r\n0\r\n\r\n"), "0123456789|done, rest ");
  EXPECT_EQ(decode("00002;name=\"v\"\r\nab\r\n0;x\r\n\r\n"), "ab|done, rest ");
  EXPECT_EQ(decode("3\r\na\r\n\r\n0\r\n\r\n"), "a\r\n|done, rest ");
  EXPECT_EQ(decode("5\r\nhel"), "hel|more");
  EXPECT_EQ(decode("5\r\nhello\r\n0\r\n"), "hello|more");
}

TEST(Chunked, TrailersAreKept) {
  ChunkedDecoder decoder;
  std::string_view input = "0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n";
  while (!decoder.done()) input.remove_prefix(decoder.next(input)->consumed);
  EXPECT_EQ(decoder.trailers(), (std::vector<Header>{{"X-Sum", "1"}, {"grpc-status", "0"}}));
}

TEST(Chunked, SizesAreHexadecimalDigitsAlone) {
  for (const std::string size :
       {"", " 5", "5 ", "0x5", "+5", "-5", "5h", "1234567890123456", "5,"}) {
    EXPECT_EQ(decode(size + "\r\nhello\r\n0\r\n\r\n"),
              "|invalid_request: chunked body: \"" + size + "\" is not a chunk size");
  }
  EXPECT_EQ(decode("5 ;x\r\nhello"), "|invalid_request: chunked body: \"5 \" is not a chunk size");
}

TEST(Chunked, BareLineFeedsAreRefused) {
  EXPECT_EQ(decode("5\nhello\r\n0\r\n\r\n"),
            "|invalid_request: chunked body: a line ends with a bare line feed");
  EXPECT_EQ(decode("5\r\nhello\n0\r\n\r\n"),
            "hello|invalid_request: chunked body: a line ends with a bare line feed");
  EXPECT_EQ(decode("0\r\n\n"), "|invalid_request: chunked body: a line ends with a bare line feed");
  EXPECT_EQ(decode("5\r;x\r\nhello"),
            "|invalid_request: chunked body: a line holds a control character");
}

TEST(Chunked, ChunksAreAsLongAsTheySay) {
  EXPECT_EQ(decode("3\r\nhello\r\n0\r\n\r\n"),
            "hel|invalid_request: chunked body: a chunk is longer than its size says");
  EXPECT_EQ(decode("3\r\nabcX\n"),
            "abc|invalid_request: chunked body: a line ends with a bare line feed");
}

TEST(Chunked, ExtensionsAndTrailersAreBounded) {
  EXPECT_EQ(decode("1;" + std::string(200, 'x') + "\r\na\r\n0\r\n\r\n"), "a|done, rest ");
  EXPECT_EQ(decode("1;" + std::string(300, 'x') + "\r\na\r\n0\r\n\r\n"),
            "|invalid_request: chunked body: a line is too long");
  EXPECT_EQ(decode("1;a\x01\r\na"),
            "|invalid_request: chunked body: a chunk extension holds a control character");
  std::string many = "0\r\n";
  for (int i = 0; i < 33; ++i) many += "X: 1\r\n";
  EXPECT_EQ(decode(many), "|constraint_violation: the trailers of a chunked body are too long");
  EXPECT_EQ(decode("0\r\nX: " + std::string(5000, 'x') + "\r\n\r\n"),
            "|invalid_request: chunked body: a line is too long");
  const std::string three = "X: " + std::string(3000, 'x') + "\r\n";
  EXPECT_EQ(decode("0\r\n" + three + three + three, 5000),
            "|constraint_violation: the trailers of a chunked body are too long");
}

TEST(Chunked, TrailersCannotChangeFramingOrRouting) {
  EXPECT_EQ(decode("0\r\nContent-Length: 5\r\n\r\n"),
            "|invalid_request: chunked body: a trailer named content-length");
  EXPECT_EQ(decode("0\r\nHOST: b\r\n\r\n"), "|invalid_request: chunked body: a trailer named host");
  EXPECT_EQ(decode("0\r\nX : b\r\n\r\n"),
            "|invalid_request: white space before the colon of header \"X\"");
}

TEST(Chunked, EncoderAndDecoderAgree) {
  const std::string data(1000, 'x');
  EXPECT_EQ(decode(chunk_prefix(data.size()) + data + "\r\n" + std::string(kLastChunk)),
            data + "|done, rest ");
}

}  // namespace
}  // namespace pinhole::http
