// SPDX-License-Identifier: Apache-2.0
#include "http/client_hello.h"

#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

using Status = ClientHello::Status;
using Buffer = std::vector<std::uint8_t>;

Buffer number(std::size_t value, std::size_t width) {
  Buffer out;
  for (std::size_t i = width; i-- > 0;) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  return out;
}
Buffer operator+(Buffer a, const Buffer& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Buffer sized(const Buffer& content, std::size_t width) {
  return number(content.size(), width) + content;
}
Buffer bytes(std::string_view text) { return {text.begin(), text.end()}; }

Buffer extension(std::size_t type, const Buffer& content) {
  return number(type, 2) + sized(content, 2);
}
Buffer sni(std::string_view name) {
  return extension(0, sized(number(0, 1) + sized(bytes(name), 2), 2));
}
Buffer message(const Buffer& extensions) {
  const Buffer body = number(0x0303, 2) + Buffer(32, 7) + sized(Buffer(32, 9), 1) +
                      sized(number(0x1301, 2), 2) + sized(Buffer{0}, 1) + sized(extensions, 2);
  return Buffer{1} + sized(body, 3);
}
Buffer record(const Buffer& content) { return Buffer{22, 3, 1} + sized(content, 2); }
Buffer records(const Buffer& content, std::size_t piece) {
  Buffer out;
  for (std::size_t at = 0; at < content.size(); at += piece) {
    const std::size_t end = std::min(at + piece, content.size());
    out = out + record(Buffer(content.begin() + static_cast<std::ptrdiff_t>(at),
                              content.begin() + static_cast<std::ptrdiff_t>(end)));
  }
  return out;
}

TEST(ClientHello, NameAndProtocolsAreRead) {
  const Buffer alpn = extension(16, sized(sized(bytes("h2"), 1) + sized(bytes("http/1.1"), 1), 2));
  const ClientHello hello = read_client_hello(record(message(sni("a.example") + alpn)));
  EXPECT_EQ(hello.status, Status::complete);
  EXPECT_EQ(hello.server_name, "a.example");
  EXPECT_EQ(hello.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
  EXPECT_FALSE(hello.has_ech);
}

TEST(ClientHello, EveryPrefixNeedsMore) {
  const Buffer whole = record(message(sni("a.example")));
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_EQ(read_client_hello(std::span(whole).first(cut)).status, Status::need_more) << cut;
  }
}

TEST(ClientHello, IsPutTogetherOverRecords) {
  const Buffer large = message(sni("a.example") + extension(51, Buffer(1800, 1)));
  for (const std::size_t piece : {1U, 3U, 100U, 1000U}) {
    const ClientHello hello = read_client_hello(records(large, piece));
    EXPECT_EQ(hello.status, Status::complete) << piece;
    EXPECT_EQ(hello.server_name, "a.example");
  }
}

TEST(ClientHello, NoNameIsNotAnError) {
  const ClientHello hello = read_client_hello(record(message(extension(43, {2, 3, 4}))));
  EXPECT_EQ(hello.status, Status::complete);
  EXPECT_EQ(hello.server_name, "");
}

TEST(ClientHello, HiddenNamesAreReported) {
  EXPECT_TRUE(
      read_client_hello(record(message(sni("cover.example") + extension(0xfe0d, {0})))).has_ech);
  EXPECT_TRUE(read_client_hello(record(message(extension(0xffce, {0})))).has_ech);
}

TEST(ClientHello, OtherProtocolsAreNotTls) {
  EXPECT_EQ(read_client_hello(bytes("SSH-2.0-x\r\n")).status, Status::not_tls);
  EXPECT_EQ(read_client_hello(bytes("GET / HTTP/1.1\r\n")).status, Status::not_tls);
  EXPECT_EQ(read_client_hello(Buffer{22, 2}).status, Status::not_tls);
  EXPECT_EQ(read_client_hello(Buffer{0x80, 0x2e, 1}).status, Status::not_tls);  // SSLv2
}

TEST(ClientHello, TwoNamesAreMalformed) {
  const Buffer one = number(0, 1) + sized(bytes("a.example"), 2);
  EXPECT_EQ(read_client_hello(record(message(extension(0, sized(one + one, 2))))).status,
            Status::malformed);
  EXPECT_EQ(read_client_hello(record(message(sni("a.example") + sni("b.example")))).status,
            Status::malformed);
}

TEST(ClientHello, OddNamesAreMalformed) {
  EXPECT_EQ(read_client_hello(record(message(sni("")))).status, Status::malformed);
  EXPECT_EQ(read_client_hello(record(message(sni("a b")))).status, Status::malformed);
  EXPECT_EQ(read_client_hello(record(message(sni(std::string_view("a\0b", 3))))).status,
            Status::malformed);
}

TEST(ClientHello, BrokenLengthsAreMalformed) {
  Buffer whole = record(message(sni("a.example")));
  const Buffer good = whole;
  EXPECT_EQ(read_client_hello(good).status, Status::complete);
  for (std::size_t at = 5; at < whole.size();
       ++at) {  // whatever byte is wrong: an answer, no crash
    for (const int value : {0, 1, 0x7f, 0xff}) {
      whole = good;
      whole[at] = static_cast<std::uint8_t>(value);
      read_client_hello(whole);
    }
  }
  EXPECT_EQ(read_client_hello(record(message(sni("a")) + Buffer{1})).status, Status::malformed);
  EXPECT_EQ(read_client_hello(record({2, 0, 0, 0})).status, Status::malformed);    // a ServerHello
  EXPECT_EQ(read_client_hello(Buffer{22, 3, 1, 0, 0}).status, Status::malformed);  // empty record
  EXPECT_EQ(read_client_hello(Buffer{22, 3, 1, 0x40, 1}).status, Status::malformed);  // 16385 bytes
  EXPECT_EQ(read_client_hello(record({1, 0, 0x40, 0})).status, Status::malformed);    // over 16 KiB
  const Buffer half = message(sni("a"));
  EXPECT_EQ(
      read_client_hello(record(Buffer(half.begin(), half.begin() + 20)) + Buffer{23, 3, 3, 0, 1, 0})
          .status,
      Status::malformed);  // another record type in between
}

}  // namespace
}  // namespace pinhole::http
