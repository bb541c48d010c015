// SPDX-License-Identifier: Apache-2.0
#include "vsock/packet.h"

#include "base/bytes.h"

namespace pinhole::vsock {

PacketHeader decode_header(std::span<const std::uint8_t, kHeaderSize> bytes) {
  PacketHeader header;
  header.src_cid = load_le<std::uint64_t>(bytes, 0);
  header.dst_cid = load_le<std::uint64_t>(bytes, 8);
  header.src_port = load_le<std::uint32_t>(bytes, 16);
  header.dst_port = load_le<std::uint32_t>(bytes, 20);
  header.len = load_le<std::uint32_t>(bytes, 24);
  header.type = load_le<std::uint16_t>(bytes, 28);
  header.op = load_le<std::uint16_t>(bytes, 30);
  header.flags = load_le<std::uint32_t>(bytes, 32);
  header.buf_alloc = load_le<std::uint32_t>(bytes, 36);
  header.fwd_cnt = load_le<std::uint32_t>(bytes, 40);
  return header;
}

HeaderBytes encode_header(const PacketHeader& header) {
  HeaderBytes bytes{};
  const std::span<std::uint8_t> out(bytes);
  store_le(out, 0, header.src_cid);
  store_le(out, 8, header.dst_cid);
  store_le(out, 16, header.src_port);
  store_le(out, 20, header.dst_port);
  store_le(out, 24, header.len);
  store_le(out, 28, header.type);
  store_le(out, 30, header.op);
  store_le(out, 32, header.flags);
  store_le(out, 36, header.buf_alloc);
  store_le(out, 40, header.fwd_cnt);
  return bytes;
}

std::optional<Op> known_op(const PacketHeader& header) {
  if (header.op < static_cast<std::uint16_t>(Op::request) ||
      header.op > static_cast<std::uint16_t>(Op::credit_request)) {
    return std::nullopt;
  }
  return static_cast<Op>(header.op);
}

PacketHeader reset_for(const PacketHeader& received) {
  return {.src_cid = received.dst_cid,
          .dst_cid = received.src_cid,
          .src_port = received.dst_port,
          .dst_port = received.src_port,
          .type = received.type,
          .op = static_cast<std::uint16_t>(Op::rst)};
}

}  // namespace pinhole::vsock
