// SPDX-License-Identifier: Apache-2.0
// The vhost-user messages that this back-end takes (QEMU, docs/interop/vhost-user.rst), from bytes
// to values. Pure: descriptors are only counted here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "vhost/guest_memory.h"

namespace pinhole::vhost {

enum class Request : std::uint32_t {
  get_features = 1,
  set_features = 2,
  set_owner = 3,
  reset_owner = 4,
  set_mem_table = 5,
  set_vring_num = 8,
  set_vring_addr = 9,
  set_vring_base = 10,
  get_vring_base = 11,
  set_vring_kick = 12,
  set_vring_call = 13,
  set_vring_err = 14,
  get_protocol_features = 15,
  set_protocol_features = 16,
  set_vring_enable = 18,
  get_config = 24,
  set_config = 25,
};

inline constexpr std::uint64_t kFeatureProtocol = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kFeatureIndirect = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kFeatureEventIdx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;
/// Never HOST_NOTIFIER (11): QEMU 7.2 and a device without that memory do not get on.
inline constexpr std::uint64_t kProtocolConfig = std::uint64_t{1} << 9;

inline constexpr std::size_t kMessageHeaderSize = 12;
inline constexpr std::size_t kMaxRegions = 8;  // without CONFIGURE_MEM_SLOTS
inline constexpr std::size_t kMaxConfigSize = 256;
/// The largest payload: a configuration with its head of 12 bytes, or 8 regions.
inline constexpr std::size_t kMaxMessagePayload = 272;

struct MessageHeader {
  std::uint32_t request = 0;
  std::uint32_t flags = 0;
  std::uint32_t size = 0;  // bytes of payload that follow
};

/// Refuses what cannot be a message of version 1 that fits kMaxMessagePayload.
Result<MessageHeader> parse_message_header(std::span<const std::uint8_t, kMessageHeaderSize> bytes);

/// One checked message; which members mean something depends on `request`.
struct Message {
  Request request = Request::get_features;
  std::uint64_t value = 0;        // features; ring_without_fd's raw form
  std::uint32_t ring = 0;         // SET_VRING_*, GET_VRING_BASE
  std::uint32_t number = 0;       // SET_VRING_NUM, _BASE, _ENABLE
  bool without_fd = false;        // SET_VRING_KICK, _CALL, _ERR: bit 8 of the value
  std::uint64_t descriptors = 0;  // SET_VRING_ADDR, the front-end's addresses
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  std::vector<MemoryRegion> regions;  // SET_MEM_TABLE, one descriptor each
  std::uint32_t config_offset = 0;    // GET_CONFIG
  std::uint32_t config_size = 0;
};

/// The message in `payload`, which has header.size bytes and came with `fds` descriptors.
Result<Message> parse_message(const MessageHeader& header, std::span<const std::uint8_t> payload,
                              std::size_t fds);

/// Whole replies, header included.
std::vector<std::uint8_t> make_u64_reply(Request request, std::uint64_t value);
std::vector<std::uint8_t> make_ring_reply(Request request, std::uint32_t ring,
                                          std::uint32_t number);
/// `space` is the device's configuration space; what is asked for beyond its end is zero.
std::vector<std::uint8_t> make_config_reply(const Message& asked,
                                            std::span<const std::uint8_t> space);

}  // namespace pinhole::vhost
