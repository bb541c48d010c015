// SPDX-License-Identifier: Apache-2.0
// The 44-byte header in front of every virtio-vsock packet (virtio 1.2, chapter 5.10.6).
//
// A short primer. Guest and host exchange packets over two rings. A stream is named by its two
// (CID, port) pairs. REQUEST/RESPONSE open it, RST ends it at once, SHUTDOWN says which directions
// its sender has finished, RW carries bytes. Every header also carries credit: `buf_alloc`, the
// sender's receive buffer, and `fwd_cnt`, how many bytes it has taken out of it so far (modulo
// 2^32). A sender may have at most `buf_alloc` bytes under way that `fwd_cnt` does not cover.
// CREDIT_UPDATE is a header sent for its credit alone, CREDIT_REQUEST asks for one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace pinhole::vsock {

inline constexpr std::size_t kHeaderSize = 44;
/// What Linux's driver calls VIRTIO_VSOCK_MAX_PKT_BUF_SIZE: no packet carries more.
inline constexpr std::uint32_t kMaxPayload = 64 * 1024;

/// The host's CID as every guest knows it.
inline constexpr std::uint64_t kHostCid = 2;
/// Smallest CID a guest may have (0 to 2 have meanings of their own).
inline constexpr std::uint64_t kFirstGuestCid = 3;

enum class Op : std::uint16_t {
  invalid = 0,
  request = 1,
  response = 2,
  rst = 3,
  shutdown = 4,
  rw = 5,
  credit_update = 6,
  credit_request = 7,
};

inline constexpr std::uint16_t kTypeStream = 1;

/// Flags of SHUTDOWN: what its sender will not do any more.
inline constexpr std::uint32_t kShutdownReceive = 1;
inline constexpr std::uint32_t kShutdownSend = 2;
inline constexpr std::uint32_t kShutdownBoth = kShutdownReceive | kShutdownSend;

/// The header's fields as they came: nothing here is checked. `op` and `type` are raw because a
/// guest may send any number; known_op() is the only way to an Op.
struct PacketHeader {
  std::uint64_t src_cid = 0;
  std::uint64_t dst_cid = 0;
  std::uint32_t src_port = 0;
  std::uint32_t dst_port = 0;
  std::uint32_t len = 0;  // bytes of payload that follow
  std::uint16_t type = kTypeStream;
  std::uint16_t op = 0;
  std::uint32_t flags = 0;
  std::uint32_t buf_alloc = 0;  // bytes
  std::uint32_t fwd_cnt = 0;    // bytes, modulo 2^32

  bool operator==(const PacketHeader&) const = default;
};

using HeaderBytes = std::array<std::uint8_t, kHeaderSize>;

PacketHeader decode_header(std::span<const std::uint8_t, kHeaderSize> bytes);
HeaderBytes encode_header(const PacketHeader& header);

/// The operation, unless its number is none of the seven.
std::optional<Op> known_op(const PacketHeader& header);

/// The RST that answers a packet which belongs to no connection.
PacketHeader reset_for(const PacketHeader& received);

}  // namespace pinhole::vsock
