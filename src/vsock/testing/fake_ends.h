// SPDX-License-Identifier: Apache-2.0
// Both sides of a Muxer in memory: host programs that read as much as a test lets them, and a guest
// with as many receive buffers as it is given.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "vsock/ends.h"
#include "vsock/muxer.h"

namespace pinhole::vsock::testing {

/// What a test sees of one host program's end. Outlives the stream.
struct HostEnd {
  std::string received;  // kept only while keep_received
  std::uint64_t received_bytes = 0;
  bool keep_received = true;
  std::size_t room = SIZE_MAX;  // bytes it takes before it blocks
  std::string to_send;
  std::uint64_t endless = 0;  // zeros that follow to_send
  bool sends_end = false;     // after all that: end of file
  bool broken = false;        // reads and writes fail
  bool write_shut = false;    // the guest will send no more
  bool read_shut = false;
  bool closed = false;        // by the muxer
  std::uint32_t ok_port = 0;  // what accepted() said
};

class FakeStream final : public HostStream {
 public:
  explicit FakeStream(std::shared_ptr<HostEnd> end) : end_(std::move(end)) {}
  ~FakeStream() override { end_->closed = true; }

  IoResult read(std::span<const iovec> into) override {
    if (end_->broken) return {.kind = IoResult::Kind::failed};
    std::size_t moved = 0;
    for (const iovec& part : into) {
      const std::size_t text = std::min(part.iov_len, end_->to_send.size());
      std::memcpy(part.iov_base, end_->to_send.data(), text);
      end_->to_send.erase(0, text);
      const auto zeros =
          static_cast<std::size_t>(std::min<std::uint64_t>(part.iov_len - text, end_->endless));
      end_->endless -= zeros;
      moved += text + zeros;
    }
    if (moved > 0) return {IoResult::Kind::bytes, moved};
    return {.kind = end_->sends_end ? IoResult::Kind::end : IoResult::Kind::would_block};
  }

  IoResult write(std::span<const iovec> from) override {
    if (end_->broken) return {.kind = IoResult::Kind::failed};
    std::size_t moved = 0;
    for (const iovec& part : from) {
      const std::size_t count = std::min(part.iov_len, end_->room);
      if (end_->keep_received) end_->received.append(static_cast<char*>(part.iov_base), count);
      end_->received_bytes += count;
      end_->room -= count;
      moved += count;
    }
    if (moved > 0) return {IoResult::Kind::bytes, moved};
    return {};
  }
  void shut_write() override { end_->write_shut = true; }
  void shut_read() override { end_->read_shut = true; }
  bool accepted(std::uint32_t host_port) override {
    end_->ok_port = host_port;
    return !end_->broken;
  }

 private:
  std::shared_ptr<HostEnd> end_;
};

/// Answers for the ports in `outcomes`; every connection's end is kept in `ends`.
struct FakeConnector final : Connector {
  std::map<std::uint32_t, ConnectAttempt::Outcome> outcomes;
  std::vector<std::shared_ptr<HostEnd>> ends;
  std::vector<ConnectionId> connected;  // beside `ends`
  std::vector<ConnectionId> asked;

  ConnectAttempt connect(ConnectionId id) override {
    asked.push_back(id);
    const auto found = outcomes.find(id.host_port);
    if (found == outcomes.end()) return {};
    if (found->second != ConnectAttempt::Outcome::connected)
      return {.outcome = found->second, .stream = nullptr};
    ends.push_back(std::make_shared<HostEnd>());
    connected.push_back(id);
    return {.outcome = found->second, .stream = std::make_unique<FakeStream>(ends.back())};
  }
};

/// A guest's receive ring: `buffers` packets of `payload_size` bytes at most.
struct FakeRx final : GuestRx {
  std::size_t buffers = SIZE_MAX;
  std::size_t payload_size = 4096;
  bool keep_payload = true;
  std::deque<std::pair<PacketHeader, std::string>> packets;

  bool put(const PacketHeader& header) override {
    if (buffers == 0) return false;
    --buffers;
    packets.emplace_back(header, "");
    return true;
  }
  Room reserve(std::size_t bytes) override {
    parts_.clear();
    capacities_.clear();
    memory_.resize(kMaxReserved * payload_size);
    while (bytes > 0 && capacities_.size() < std::min(buffers, kMaxReserved)) {
      const std::size_t count = std::min(bytes, payload_size);
      parts_.push_back({memory_.data() + capacities_.size() * payload_size, count});
      capacities_.push_back(static_cast<std::uint32_t>(count));
      bytes -= count;
    }
    return {parts_, capacities_};
  }
  void commit(std::span<const PacketHeader> headers) override {
    for (std::size_t i = 0; i < headers.size(); ++i) {
      packets.emplace_back(
          headers[i],
          keep_payload ? std::string(memory_.data() + i * payload_size, headers[i].len) : "");
    }
    buffers -= headers.size();
  }

 private:
  std::vector<char> memory_;
  std::vector<iovec> parts_;
  std::vector<std::uint32_t> capacities_;
};

}  // namespace pinhole::vsock::testing
