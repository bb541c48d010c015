// SPDX-License-Identifier: Apache-2.0
// Any bytes as a history of a Muxer: packets of a hostile guest, moods of host programs, time. The
// entry point for fuzzing, and for tests that throw dice.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "vsock/muxer.h"
#include "vsock/testing/fake_ends.h"

namespace pinhole::vsock::testing {

class MuxerScript {
 public:
  /// Plays all of `bytes`; aborts when a bound of the Muxer does not hold.
  static void run(std::span<const std::uint8_t> bytes) {
    MuxerScript script(bytes);
    while (script.at_ < bytes.size()) script.step();
  }

 private:
  explicit MuxerScript(std::span<const std::uint8_t> bytes) : bytes_(bytes) {
    connector_.outcomes = {{1, ConnectAttempt::Outcome::connected},
                           {2, ConnectAttempt::Outcome::busy},
                           {3, ConnectAttempt::Outcome::refused}};
    rx_.buffers = 8;
  }

  std::uint8_t byte() { return at_ < bytes_.size() ? bytes_[at_++] : std::uint8_t{0}; }

  void step() {
    switch (byte() % 8) {
      case 0:
      case 1:
      case 2:
        likely_packet();
        break;
      case 3:
        any_packet();
        break;
      case 4:
        change_host();
        break;
      case 5:
        rx_.buffers = byte() % 16;
        rx_.payload_size = std::size_t{1} << byte() % 13;
        muxer_.pump(rx_, std::size_t{byte()} * 256, now_);
        rx_.packets.clear();
        break;
      case 6:
        now_ += std::chrono::milliseconds(std::int64_t{byte()} * 40);
        connector_.outcomes[2] = static_cast<ConnectAttempt::Outcome>(byte() % 3);
        muxer_.on_time(now_);
        break;
      default:
        rare();
        break;
    }
    check_bounds();
  }

  /// Few ports and small numbers, so that packets meet connections and do not end each at once.
  void likely_packet() {
    static constexpr std::array<std::uint8_t, 16> kOps{1, 1, 1, 5, 5, 5, 5, 5,
                                                       6, 6, 7, 4, 4, 2, 3, 9};
    PacketHeader header{.src_cid = 3, .dst_cid = kHostCid};
    header.src_port = byte() % 3;
    header.dst_port = byte() % 8 == 0 ? byte() % 4U : 1U;
    header.op = kOps[byte() % kOps.size()];
    header.flags = byte() % 4;
    header.buf_alloc = std::uint32_t{byte()} << (byte() % 16);
    header.fwd_cnt = byte() % 4 == 0 ? std::uint32_t{byte()} << (byte() % 12) : 0;
    const std::size_t size = std::size_t{byte()} << (byte() % 8);
    const bool carries = header.op == static_cast<std::uint16_t>(Op::rw);
    header.len = carries ? static_cast<std::uint32_t>(size) : 0;
    send(header, size);
  }
  void any_packet() {
    HeaderBytes raw;
    for (auto& value : raw) value = byte();
    send(decode_header(raw), byte());
  }
  void send(const PacketHeader& header, std::size_t size) {
    if (!muxer_.accepts_packets(now_)) return;
    static const std::string payload(std::size_t{1} << 16, 'x');
    const std::array<iovec, 2> parts{iovec{const_cast<char*>(payload.data()), size / 2},
                                     iovec{const_cast<char*>(payload.data()), size - size / 2}};
    muxer_.on_packet(header, parts, now_);
  }
  void change_host() {
    if (connector_.ends.empty()) return;
    const std::size_t index = byte() % connector_.ends.size();
    HostEnd& end = *connector_.ends[index];
    const std::uint8_t mood = byte();
    end.keep_received = false;
    end.room = (mood & 1) != 0 ? SIZE_MAX : byte();
    end.endless = (mood & 2) != 0 ? std::uint64_t{byte()} << 10 : 0;
    end.sends_end = (mood & 4) != 0;
    end.broken = (mood & 0x38) == 0x38;
    const auto& id = connector_.connected.at(index);
    muxer_.on_host_ready(id, {(mood & 64) != 0, (mood & 128) != 0, (mood & 7) == 7}, now_);
  }
  void rare() {
    switch (byte() % 16) {
      case 0:
        muxer_.reset();
        break;
      case 1:
        muxer_.restart_waits(now_);
        break;
      default:
        if (const auto id = muxer_.open(byte() % 4, now_)) {
          connector_.ends.push_back(std::make_shared<HostEnd>());
          connector_.connected.push_back(*id);
          muxer_.give_stream(*id, std::make_unique<FakeStream>(connector_.ends.back()));
        }
        break;
    }
  }
  void check_bounds() const {
    const MuxerStats stats = muxer_.stats();
    PINHOLE_CHECK(stats.connections <= kMaxConnections);
    PINHOLE_CHECK(stats.half_open <= kMaxHalfOpen && stats.half_open <= stats.connections);
    PINHOLE_CHECK(stats.replies <= kMaxReplies + kMaxConnections);
    PINHOLE_CHECK(stats.buffered <= kMaxBuffered);
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
  TimePoint now_{std::chrono::seconds(1)};
  FakeConnector connector_;
  FakeRx rx_;
  Muxer muxer_{3, connector_};
};

}  // namespace pinhole::vsock::testing
