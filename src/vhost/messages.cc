// SPDX-License-Identifier: Apache-2.0
#include "vhost/messages.h"

#include <algorithm>

#include "base/bytes.h"

namespace pinhole::vhost {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kVersionMask = 3;
constexpr std::uint32_t kReplyFlag = 4;
constexpr std::uint64_t kRingMask = 0xff;
constexpr std::uint64_t kNoFdFlag = 0x100;
constexpr std::size_t kConfigHead = 12;
constexpr std::size_t kMemTableHead = 8;
constexpr std::size_t kRegionSize = 32;
static_assert(kMaxMessagePayload >= kConfigHead + kMaxConfigSize);
static_assert(kMaxMessagePayload >= kMemTableHead + kMaxRegions * kRegionSize);

enum class Payload { none, u64, ring_state, ring_address, ring_fd, mem_table, config };

struct Shape {
  Request request;
  Payload payload;
};

constexpr Shape kShapes[] = {
    {Request::get_features, Payload::none},
    {Request::set_features, Payload::u64},
    {Request::set_owner, Payload::none},
    {Request::reset_owner, Payload::none},
    {Request::set_mem_table, Payload::mem_table},
    {Request::set_vring_num, Payload::ring_state},
    {Request::set_vring_addr, Payload::ring_address},
    {Request::set_vring_base, Payload::ring_state},
    {Request::get_vring_base, Payload::ring_state},
    {Request::set_vring_kick, Payload::ring_fd},
    {Request::set_vring_call, Payload::ring_fd},
    {Request::set_vring_err, Payload::ring_fd},
    {Request::get_protocol_features, Payload::none},
    {Request::set_protocol_features, Payload::u64},
    {Request::set_vring_enable, Payload::ring_state},
    {Request::get_config, Payload::config},
    {Request::set_config, Payload::config},
};

const Shape* shape_of(std::uint32_t request) {
  for (const Shape& shape : kShapes) {
    if (static_cast<std::uint32_t>(shape.request) == request) return &shape;
  }
  return nullptr;
}

std::unexpected<Error> malformed(const MessageHeader& header, std::string_view why) {
  return fail("vhost-user request {} {}", header.request, why);
}

Result<void> parse_mem_table(const MessageHeader& header, std::span<const std::uint8_t> payload,
                             std::size_t fds, Message& message) {
  if (payload.size() < kMemTableHead) return malformed(header, "is too short");
  const auto count = load_le<std::uint32_t>(payload, 0);
  if (count > kMaxRegions) return malformed(header, "has too many regions");
  if (payload.size() < kMemTableHead + count * kRegionSize)
    return malformed(header, "is too short");
  if (fds != count) return malformed(header, "has not one descriptor for each region");
  for (std::size_t i = 0; i < count; ++i) {
    const auto bytes = payload.subspan(kMemTableHead + i * kRegionSize, kRegionSize);
    message.regions.push_back({.guest_address = load_le<std::uint64_t>(bytes, 0),
                               .size = load_le<std::uint64_t>(bytes, 8),
                               .user_address = load_le<std::uint64_t>(bytes, 16),
                               .file_offset = load_le<std::uint64_t>(bytes, 24)});
  }
  return {};
}

Result<void> parse_ring_fd(const MessageHeader& header, std::span<const std::uint8_t> payload,
                           std::size_t fds, Message& message) {
  if (payload.size() < 8) return malformed(header, "is too short");
  const auto value = load_le<std::uint64_t>(payload, 0);
  message.ring = static_cast<std::uint32_t>(value & kRingMask);
  message.without_fd = (value & kNoFdFlag) != 0;
  if (fds != (message.without_fd ? 0 : 1)) return malformed(header, "has not its one descriptor");
  return {};
}

Result<void> parse_config(const MessageHeader& header, std::span<const std::uint8_t> payload,
                          Message& message) {
  if (payload.size() < kConfigHead) return malformed(header, "is too short");
  message.config_offset = load_le<std::uint32_t>(payload, 0);
  message.config_size = load_le<std::uint32_t>(payload, 4);
  if (message.config_size > kMaxConfigSize || message.config_offset > kMaxConfigSize) {
    return malformed(header, "asks for too much");
  }
  return {};
}

void put_header(std::span<std::uint8_t> out, Request request) {
  store_le(out, 0, static_cast<std::uint32_t>(request));
  store_le(out, 4, kVersion | kReplyFlag);
  store_le(out, 8, static_cast<std::uint32_t>(out.size() - kMessageHeaderSize));
}

}  // namespace

Result<MessageHeader> parse_message_header(
    std::span<const std::uint8_t, kMessageHeaderSize> bytes) {
  const MessageHeader header{.request = load_le<std::uint32_t>(bytes, 0),
                             .flags = load_le<std::uint32_t>(bytes, 4),
                             .size = load_le<std::uint32_t>(bytes, 8)};
  if ((header.flags & kVersionMask) != kVersion || (header.flags & kReplyFlag) != 0) {
    return malformed(header, "is not of version 1");
  }
  if (header.size > kMaxMessagePayload) return malformed(header, "is too long");
  if (shape_of(header.request) == nullptr) {
    return malformed(header, "is none that was offered");
  }
  return header;
}

Result<Message> parse_message(const MessageHeader& header, std::span<const std::uint8_t> payload,
                              std::size_t fds) {
  const Shape* shape = shape_of(header.request);
  if (shape == nullptr || payload.size() != header.size) return malformed(header, "is malformed");
  Message message{.request = shape->request};
  switch (shape->payload) {
    case Payload::mem_table:
      PINHOLE_TRY_VOID(parse_mem_table(header, payload, fds, message));
      return message;
    case Payload::ring_fd:
      PINHOLE_TRY_VOID(parse_ring_fd(header, payload, fds, message));
      return message;
    case Payload::none:
    case Payload::u64:
    case Payload::ring_state:
    case Payload::ring_address:
    case Payload::config:
      break;
  }
  if (fds != 0) return malformed(header, "has a descriptor that it must not have");
  if (shape->payload == Payload::u64) {
    if (payload.size() < 8) return malformed(header, "is too short");
    message.value = load_le<std::uint64_t>(payload, 0);
  } else if (shape->payload == Payload::ring_state) {
    if (payload.size() < 8) return malformed(header, "is too short");
    message.ring = load_le<std::uint32_t>(payload, 0);
    message.number = load_le<std::uint32_t>(payload, 4);
  } else if (shape->payload == Payload::ring_address) {
    if (payload.size() < 40) return malformed(header, "is too short");
    message.ring = load_le<std::uint32_t>(payload, 0);
    message.descriptors = load_le<std::uint64_t>(payload, 8);
    message.used = load_le<std::uint64_t>(payload, 16);
    message.available = load_le<std::uint64_t>(payload, 24);
  } else if (shape->payload == Payload::config) {
    PINHOLE_TRY_VOID(parse_config(header, payload, message));
  }
  return message;
}

std::vector<std::uint8_t> make_u64_reply(Request request, std::uint64_t value) {
  std::vector<std::uint8_t> out(kMessageHeaderSize + 8);
  put_header(out, request);
  store_le(std::span(out), kMessageHeaderSize, value);
  return out;
}

std::vector<std::uint8_t> make_ring_reply(Request request, std::uint32_t ring,
                                          std::uint32_t number) {
  std::vector<std::uint8_t> out(kMessageHeaderSize + 8);
  put_header(out, request);
  store_le(std::span(out), kMessageHeaderSize, ring);
  store_le(std::span(out), kMessageHeaderSize + 4, number);
  return out;
}

std::vector<std::uint8_t> make_config_reply(const Message& asked,
                                            std::span<const std::uint8_t> space) {
  std::vector<std::uint8_t> out(kMessageHeaderSize + kConfigHead + asked.config_size);
  put_header(out, Request::get_config);
  store_le(std::span(out), kMessageHeaderSize, asked.config_offset);
  store_le(std::span(out), kMessageHeaderSize + 4, asked.config_size);
  if (asked.config_offset < space.size()) {
    const auto part = space.subspan(asked.config_offset);
    std::copy_n(part.begin(), std::min<std::size_t>(part.size(), asked.config_size),
                out.begin() + kMessageHeaderSize + kConfigHead);
  }
  return out;
}

}  // namespace pinhole::vhost
