// SPDX-License-Identifier: Apache-2.0
#include "vhost/messages.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/bytes.h"

namespace pinhole::vhost {
namespace {

std::array<std::uint8_t, kMessageHeaderSize> header_bytes(std::uint32_t request,
                                                          std::uint32_t flags, std::uint32_t size) {
  std::array<std::uint8_t, kMessageHeaderSize> bytes{};
  store_le<std::uint32_t>(bytes, 0, request);
  store_le<std::uint32_t>(bytes, 4, flags);
  store_le<std::uint32_t>(bytes, 8, size);
  return bytes;
}
std::string header_error(std::uint32_t request, std::uint32_t flags, std::uint32_t size) {
  const auto parsed = parse_message_header(header_bytes(request, flags, size));
  return parsed ? "" : parsed.error().message;
}
Result<Message> parse(Request request, const std::vector<std::uint8_t>& payload,
                      std::size_t fds = 0) {
  const MessageHeader header{static_cast<std::uint32_t>(request), 1,
                             static_cast<std::uint32_t>(payload.size())};
  return parse_message(header, payload, fds);
}
std::string error(Request request, const std::vector<std::uint8_t>& payload, std::size_t fds = 0) {
  const auto parsed = parse(request, payload, fds);
  return parsed ? "" : parsed.error().message;
}
std::vector<std::uint8_t> words(std::initializer_list<std::uint64_t> values) {
  std::vector<std::uint8_t> out(values.size() * 8);
  std::size_t at = 0;
  for (const std::uint64_t value : values) {
    store_le(std::span(out), at, value);
    at += 8;
  }
  return out;
}

TEST(VhostMessages, HeadersAreOfVersionOneKnownAndBounded) {
  EXPECT_EQ(header_error(1, 1, 0), "");
  EXPECT_EQ(header_error(1, 9, 0), "");  // "reply wanted": not negotiated, not refused
  EXPECT_EQ(header_error(1, 2, 0), "vhost-user request 1 is not of version 1");
  EXPECT_EQ(header_error(1, 5, 0), "vhost-user request 1 is not of version 1");
  EXPECT_EQ(header_error(25, 1, kMaxMessagePayload), "");
  EXPECT_EQ(header_error(25, 1, kMaxMessagePayload + 1), "vhost-user request 25 is too long");
  for (const std::uint32_t request : {0U, 6U, 7U, 17U, 21U, 26U, 99U, 0xffffffffU}) {
    EXPECT_EQ(header_error(request, 1, 0),
              fmt::format("vhost-user request {} is none that was offered", request));
  }
}

TEST(VhostMessages, MemoryTableHasOneDescriptorForEachRegion) {
  const auto table = words({2, 0x1000, 0x2000, 0x3000, 0x4000, 5, 6, 7, 8});
  const auto message = parse(Request::set_mem_table, table, 2).value();
  ASSERT_EQ(message.regions.size(), 2U);
  EXPECT_EQ(message.regions[0].guest_address, 0x1000U);
  EXPECT_EQ(message.regions[0].size, 0x2000U);
  EXPECT_EQ(message.regions[0].user_address, 0x3000U);
  EXPECT_EQ(message.regions[0].file_offset, 0x4000U);
  EXPECT_EQ(error(Request::set_mem_table, table, 1),
            "vhost-user request 5 has not one descriptor for each region");
  EXPECT_EQ(error(Request::set_mem_table, words({3, 1, 2, 3, 4, 5, 6, 7, 8}), 3),
            "vhost-user request 5 is too short");
  EXPECT_EQ(error(Request::set_mem_table, words({9}), 8),
            "vhost-user request 5 has too many regions");
  EXPECT_EQ(error(Request::set_mem_table, {}, 0), "vhost-user request 5 is too short");
}

TEST(VhostMessages, KickAndCallNameTheirRingAndBringOneDescriptorOrNone) {
  EXPECT_EQ(parse(Request::set_vring_kick, words({1}), 1).value().ring, 1U);
  EXPECT_TRUE(parse(Request::set_vring_call, words({0x100}), 0).value().without_fd);
  EXPECT_EQ(error(Request::set_vring_kick, words({1}), 0),
            "vhost-user request 12 has not its one descriptor");
  EXPECT_EQ(error(Request::set_vring_kick, words({0x101}), 1),
            "vhost-user request 12 has not its one descriptor");
  EXPECT_EQ(error(Request::set_vring_call, {1, 2, 3}, 1), "vhost-user request 13 is too short");
}

TEST(VhostMessages, RingAddressesComeInTheOrderOfTheProtocol) {
  const auto message = parse(Request::set_vring_addr, words({1, 0x10, 0x20, 0x30, 0x40})).value();
  EXPECT_EQ(message.ring, 1U);
  EXPECT_EQ(message.descriptors, 0x10U);
  EXPECT_EQ(message.used, 0x20U);
  EXPECT_EQ(message.available, 0x30U);
}

TEST(VhostMessages, DescriptorsComeOnlyWhereTheyBelong) {
  EXPECT_EQ(error(Request::get_features, {}, 0), "");
  EXPECT_EQ(error(Request::get_features, {}, 1),
            "vhost-user request 1 has a descriptor that it must not have");
}

TEST(VhostMessages, ConfigurationIsReadWithinItsBounds) {
  std::vector<std::uint8_t> ask(12);
  store_le<std::uint32_t>(ask, 4, 12);
  const std::array<std::uint8_t, 8> space{1, 2, 3, 4, 5, 6, 7, 8};
  const auto reply = make_config_reply(parse(Request::get_config, ask).value(), space);
  ASSERT_EQ(reply.size(), 36U);
  EXPECT_EQ(reply[4], 5);  // version 1, a reply
  EXPECT_EQ((std::vector(reply.begin() + 24, reply.end())),
            (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0}));
  store_le<std::uint32_t>(ask, 4, 257);
  EXPECT_EQ(error(Request::get_config, ask), "vhost-user request 24 asks for too much");
}

}  // namespace
}  // namespace pinhole::vhost
