// SPDX-License-Identifier: Apache-2.0
#include "vsock/packet.h"

#include <gtest/gtest.h>

#include <numeric>

namespace pinhole::vsock {
namespace {

TEST(VsockPacket, HeaderFieldsLieWhereTheSpecificationPutsThem) {
  HeaderBytes bytes;
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{1});
  const PacketHeader header = decode_header(bytes);
  EXPECT_EQ(header.src_cid, 0x0807060504030201U);
  EXPECT_EQ(header.dst_cid, 0x100f0e0d0c0b0a09U);
  EXPECT_EQ(header.src_port, 0x14131211U);
  EXPECT_EQ(header.dst_port, 0x18171615U);
  EXPECT_EQ(header.len, 0x1c1b1a19U);
  EXPECT_EQ(header.type, 0x1e1dU);
  EXPECT_EQ(header.op, 0x201fU);
  EXPECT_EQ(header.flags, 0x24232221U);
  EXPECT_EQ(header.buf_alloc, 0x28272625U);
  EXPECT_EQ(header.fwd_cnt, 0x2c2b2a29U);
  EXPECT_EQ(encode_header(header), bytes);
}

TEST(VsockPacket, OnlyTheSevenOperationsAreKnown) {
  EXPECT_EQ(known_op({.op = 0}), std::nullopt);
  EXPECT_EQ(known_op({.op = 1}), Op::request);
  EXPECT_EQ(known_op({.op = 7}), Op::credit_request);
  EXPECT_EQ(known_op({.op = 8}), std::nullopt);
  EXPECT_EQ(known_op({.op = 0xffff}), std::nullopt);
}

TEST(VsockPacket, ResetGoesBackWhereThePacketCameFrom) {
  const PacketHeader answer = reset_for(
      {.src_cid = 3, .dst_cid = 2, .src_port = 10, .dst_port = 20, .len = 5, .type = 2, .op = 5});
  EXPECT_EQ(answer,
            (PacketHeader{
                .src_cid = 2, .dst_cid = 3, .src_port = 20, .dst_port = 10, .type = 2, .op = 3}));
}

}  // namespace
}  // namespace pinhole::vsock
